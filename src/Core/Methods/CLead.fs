namespace AdvContrast.Core.Methods

open TorchSharp
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// C-LEAD (Ghosh, Kumar and Sur 2025): an image drawn to two attacked forms of it. As published these are
/// made once, against an undefended classifier; here by default at every step against the network itself.
[<RequireQualifiedAccess>]
module CLead =

    let private clean = SimClr.clean
    let private temperature = 0.1

    let private citation =
        "Ghosh, Kumar and Sur: C-LEAD: Contrastive Learning for Enhanced Adversarial Defense, 2025"

    let private colours =
        View.compose [ View.sometimes 0.8 (Colour.jitter 0.4 0.4 0.4 0.1); View.sometimes 0.2 Colour.grey ]

    let private crop = Crop.randomResized 0.2

    let private create name summary head step = {
        SimClr.method with
            Name = name
            Summary = summary
            Citation = citation
            Head = head
            Step = step
            Recipe = {
                SimClr.method.Recipe with
                    // lr_min = lr * 0.1^3, by epochs.
                    Optimizer = Transform.sgd (Schedule.perEpoch (Schedule.cosine 0.4 4e-4)) 0.9 1e-4
                    Epochs = 500
            }
    }

    // 1/2 [ l(x, p) + l(x, c) ], each drawing the original to its attacked form alone.
    let private bothAttacks first second : Loss =
        fun scene ->
            let x = LossContext.embedding "all" "x" scene
            let part view = InfoNce.oneSided temperature x (LossContext.embedding "all" view scene)
            Scope.tensor (fun () -> (part first + part second) * 0.5)

    let private formula = "1/2 [ l(x -> x_P) + l(x -> x_C) ], T = 0.1"

    // By how much the likest other image beats an attacked image's own.
    let private confusion original attacked =
        Scope.tensor (fun () ->
            let z, moved = Similarity.normalise original, Similarity.normalise attacked
            let own = torch.arange (z.shape[0].ToScalar(), dtype = torch.int64, device = z.device)
            Margin.perSample (moved.matmul (z.t ())) own)

    /// The anchor's own view attacked by PGD-5 twice at every step: to raise the loss, and to be likest to
    /// another image (the margin that Carlini and Wagner's attack needs labels for).
    let method =
        let still = Pass.eval "still" [ "x" ] clean
        let moved view = Pass.eval "moved" [ view ] clean

        let attack view objective =
            Acl.attack [ view, "x" ] [ still; moved view ] (fun scene ->
                objective
                    (LossContext.embedding "still" "x" scene)
                    (LossContext.embedding "moved" view scene))

        create "c-lead" "an image drawn to two attacks on it, made anew at every step" (Head.mlp 128L) {
            Step.create
                (Step.views [ "x", View.compose [ crop; colours ] ])
                [ Pass.train "all" [ "x"; "p"; "c" ] clean ]
                formula
                (bothAttacks "p" "c") with
                Adversaries = [ attack "p" (InfoNce.oneSided temperature); attack "c" confusion ]
        }

    // --- as published

    // Every image cropped once, then attacked against a classifier, and kept as bytes.
    let private perturbed name (attack: Attack) threat : Named<StageContext -> Artifact> =
        Named.create
            (sprintf "each image cropped, then %s against the classifier" attack.Text)
            (fun workshop ->
                match Map.tryFind "classifier" workshop.Made with
                | Some(Trained model) ->
                    let classify = Network.classifier "logits" model

                    let attacked (rows: int64[]) =
                        workshop.Report(float rows[0] / float workshop.Count)

                        Scope.tensor (fun () ->
                            let draw = Rng.create workshop.Seed ("stage/" + name) rows
                            let images = crop.Run (Rng.sub "crop" draw) (workshop.Images rows)

                            let harm =
                                attack.Run draw threat classify {
                                    Ids = rows
                                    Images = images
                                    Labels = workshop.Classes rows
                                    Targets = None
                                }

                            (harm.Images * 255.0).round().``to``(torch.uint8).cpu())

                    Scope.tensor (fun () ->
                        [| 0L .. int64 workshop.Count - 1L |]
                        |> Array.chunkBySize 250
                        |> Array.map attacked
                        |> fun parts -> torch.cat (parts, 0L))
                    |> Images
                | _ -> invalidArg (nameof workshop) "stage 'classifier' brings no network.")

    // What is left of the augmentation after the crop.
    let private afterwards = View.compose [ Crop.padded 0L; colours ]
    let private still name : ViewSpec = { Name = name; Source = name; Make = fun _ -> afterwards }

    /// Images attacked once and for all (PGD-3 within 8/255 in steps of 3/255, and Carlini and Wagner's L2 at c
    /// = 1) against a supervised classifier that the encoder then starts from; colours change after the attack.
    let asPublished =
        let threat = Threat.create Linf (8.0 / 255.0)

        let step =
            Step.create
                (Step.views [ "x", View.compose [ crop; colours ] ] @ [ still "pgd"; still "cw" ])
                [ Pass.train "all" [ "x"; "pgd"; "cw" ] clean ]
                formula
                (bothAttacks "pgd" "cw")

        {
            create
                "c-lead:as-published"
                "an image drawn to two attacks on it, made once against a classifier"
                (Head.linear 128L)
                step with
                Quirks =
                    Map [
                        "the attacked images never change, and are attacks on another network",
                        "its robustness against attacks on itself is not what the paper's table measures"
                    ]
                Before = [
                    Stage.Train("classifier", Supervised.classifier)
                    Stage.Compute("pgd", perturbed "pgd" (Attack.pgd 0.375 3) threat)
                    Stage.Compute("cw", perturbed "cw" (CarliniWagner.attack CarliniWagner.defaults) threat)
                ]
                From = Some "classifier"
        }
