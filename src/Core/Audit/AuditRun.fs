namespace AdvContrast.Core.Audit

open System
open FsToolkit.ErrorHandling
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Data
open AdvContrast.Core.Runs
open AdvContrast.Core.Evaluation

/// Everything a user chooses about an audit of an encoder; None means: as in the encoder's own run.
type AuditRun = {
    /// A data set of the catalogue: its training part fits the linear layer, its test part is attacked.
    Dataset: string option
    /// The folder with the data set's files.
    Data: string option
    /// Test images drawn by the seed, of every class in proportion, at most this many.
    Images: int
    /// What the attacks may do; None: what the encoder was trained against, else linf:8/255.
    Threat: string option
    /// How the linear layer is fitted: <c>"quick"</c> or <c>"published"</c>.
    Probe: string
    Seed: uint64
    /// Threads of libtorch; None leaves its own choice.
    Threads: int option
    Effort: Effort
}

/// The result of an audit of an encoder.
type AuditedEncoder = {
    /// The data set whose test images were used, and which of them.
    Dataset: string
    Coverage: Coverage
    Threat: Threat
    Probe: string
    Seed: uint64
    Audited: Audited
}

[<RequireQualifiedAccess>]
module AuditRun =

    /// A hundred images of the run's own data.
    let defaults: AuditRun = {
        Dataset = None
        Data = None
        Images = 100
        Threat = None
        Probe = "quick"
        Seed = 1UL
        Threads = None
        Effort = Audit.standard
    }

    // What can be checked before the data is there; all faults at once.
    let private validate (run: PretrainConfig) (i: AuditRun) = validation {
        let! threat =
            i.Threat
            |> Option.orElse run.Threat
            |> Option.defaultValue "linf:8/255"
            |> Threat.parse
            |> Result.bind (Threat.usable None)
            |> Result.bind Threat.onDataset

        and! top = ClassifierHead.find i.Seed i.Probe
        and! _ = DatasetRegistry.requireUsed (Option.defaultValue run.Dataset i.Dataset) i.Data
        and! _ = PretrainConfig.atLeast 1 "--images" (Some i.Images)
        and! _ = PretrainConfig.threads i.Threads
        return threat, top
    }

    let private attackable threat =
        if threat.Radius > 0.0 then
            Ok threat
        else
            Error [ Error.BadOption("--threat", "an audit needs a radius above 0, as in linf:8/255.") ]

    // The surrogate must take the same images.
    let private fits (encoder: Encoder) (surrogate: Encoder option) =
        match surrogate with
        | Some other when other.Input.Channels <> encoder.Input.Channels ->
            let problem =
                sprintf
                    "it takes images of %d channel(s), the encoder %d; name a run on the same data."
                    other.Input.Channels
                    encoder.Input.Channels
            Error [ Error.BadOption("--surrogate", problem) ]
        | _ -> Ok()

    /// Fits a linear layer on the frozen encoder (SLF), and on the surrogate where there is one, and audits
    /// the classifier. report: called with the name of what is being done and the share of it done. When stop
    /// is cancelled, ends before the next forward pass of the encoder with Error.Interrupted.
    let run report stop (encoder: Encoder) (surrogate: Encoder option) (i: AuditRun) = result {
        let! threat, top = validate encoder.Configuration i
        let! threat = attackable threat
        do! fits encoder surrogate

        let stand: EvaluationTarget = {
            Dataset = i.Dataset
            Data = i.Data
            Images = Some i.Images
            Seed = i.Seed
            Neighbours = None
            Top = top
            Threads = i.Threads
        }

        return!
            EvaluationTarget.using report stop encoder stand (fun classifier test train share -> result {
                let fitting (p: Progress) = share "surrogate's layer" (float p.Step / float p.Steps)

                let! surrogate =
                    surrogate
                    |> Option.traverseResult (fun other ->
                        ClassifierHead.head top fitting other train test
                        |> Result.map (fun head -> other, head))

                use _ = surrogate |> Option.map (fun (_, head) -> head :> IDisposable) |> Option.toObj

                let values = test.Images.numel () / test.Images.shape[0]
                do! Threat.usable (Some values) threat |> Result.mapError List.singleton |> Result.ignore

                return
                    Scope.value (fun () ->
                        let ids = Array.init (int test.Count) int64
                        let images, labels = test.Batch encoder.Device ids, test.LabelsOf encoder.Device ids
                        let surrogate = surrogate |> Option.map ((<||) LinearProbe.classifier)
                        let subject =
                            AuditTarget.create classifier surrogate images labels threat i.Seed i.Effort

                        {
                            Dataset = test.Name
                            Coverage = Coverage.ofDataset test
                            Threat = threat
                            Probe = i.Probe
                            Seed = i.Seed
                            Audited = Audit.run share subject
                        })
            })
    }
