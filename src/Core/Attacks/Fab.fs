namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Losses

/// The fast adaptive boundary attack, FAB, and its targeted form FAB-T (Croce and Hein 2020, "Minimally
/// distorted adversarial examples with a fast adaptive boundary attack" and "Reliable evaluation of
/// adversarial robustness ..."). It steps onto borders of the linearised classifier and looks for the nearest
/// image beyond one; the threat gives norm and box.
// The type stands in another file.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Fab =

    /// Raised whenever the same call gives other images than before: notes of an evaluation carry it.
    let version = 1

    /// FAB as published: 100 steps, alpha_max 0.1, eta 1.05, beta 0.9, one run.
    let untargeted = {
        Targets = None
        Steps = 100
        Lean = 0.1
        Overshoot = 1.05
        Backward = 0.9
        Restarts = 1
    }

    /// FAB-T as in AutoAttack: towards the 9 likeliest other classes, or all where there are fewer.
    let targeted = { untargeted with Targets = Some 9 }

    // Where a later run begins: at random, half as far as the image is known, or allowed, to be broken.
    let private restarted threat draw (nearest: Tensor) (origin: Tensor) =
        Scope.tensor (fun () ->
            let shape = List.ofArray origin.shape[1..]

            let direction =
                match threat.Norm with
                | Linf -> Rng.uniform shape draw * 2.0 - 1.0
                | _ -> Rng.normal shape draw

            let direction = direction.``to``(origin.device).``to``(origin.dtype)
            let length = (Projection.length threat.Norm direction).clamp_min(1e-12.ToScalar())
            let far = nearest.clamp_max (threat.Radius.ToScalar()) * 0.5
            origin + direction * Shape.perSample direction (far / length) |> Projection.boxed threat)

    // The borders of each run, as [n; r] each, for the images that are attacked.
    let private borders (how: Fab) (logits: Tensor) (victims: AttackBatch) =
        match victims.Targets, how.Targets with
        | Some targets, _ -> [ targets.unsqueeze 1L ]
        | None, count ->
            let rivals = Logits.rivals logits victims.Labels

            match count with
            | None -> [ rivals ]
            | Some count ->
                List.init (min count (int rivals.shape[1])) (fun rank -> rivals.narrow (1L, int64 rank, 1L))

    // What a reader must know of the borders.
    let private notes (how: Fab) classes (victims: AttackBatch) =
        match how.Targets with
        | Some count when victims.Targets.IsNone && classes - 1 < count -> [
            Apgd.fewerTargets (classes - 1) count
          ]
        | _ -> []

    let private search
        radiusOf
        (how: Fab)
        (draw: Rng)
        threat
        (classifier: Classifier)
        (victims: AttackBatch)
        =
        let found = FabSearch.start victims.Images
        let ledger, radius = found.Log, (radiusOf threat: float option)
        let logits = Attack.first ledger classifier victims
        ledger.Flags.UnionWith(notes how (int logits.shape[1]) victims)

        let borders = List.indexed (borders how logits victims)
        let right = AttackLog.unsolved ledger (Array.init victims.Ids.Length int64)

        for (border, rivals), number in List.allPairs borders [ 0 .. how.Restarts - 1 ] do
            // Without a radius all go on to the end.
            let rows = if radius.IsSome then AttackLog.unsolved ledger right else right

            if rows.Length > 0 then
                Scope.value (fun () ->
                    let pick = AttackLog.pick rows
                    let origin = pick victims.Images
                    let purpose = sprintf "border %d/restart %d" border number
                    let draw = Rng.pick rows draw |> Rng.sub purpose

                    FabSearch.descend how threat radius classifier found {
                        Rows = rows
                        Origin = origin
                        Labels = pick victims.Labels
                        Goals = victims.Targets |> Option.map pick
                        Rivals = pick rivals
                        X =
                            if number = 0 then
                                origin.alias ()
                            else
                                restarted threat draw (pick found.Nearest) origin
                    })

        Attack.closeJudged ledger classifier victims

    let private named radiusOf (how: Fab) : Attack =
        FabSearch.check how

        let kind =
            match how.Targets with
            | None -> "FAB"
            | Some count -> sprintf "FAB-T, %d targets" count
        let runs = if how.Restarts = 1 then "" else sprintf ", %d runs" how.Restarts

        Attack.create (sprintf "%s, %d steps%s" kind how.Steps runs) (search radiusOf how)

    /// The nearest misclassified image that any of the runs finds, all of them on all images. Success is that
    /// of the stored image, however far it is: <c>Attack.within</c> holds it to a radius, so that one search
    /// answers for every radius. Images that are misclassified as they are stay so. Where there are targets,
    /// the one border is the target's. Of the threat's radius only restarts make use. Gradients counts
    /// backward passes.
    let minimal how : Attack = named (fun _ -> None) how

    /// Whether an image can be broken within the threat's radius: as <c>minimal</c>, but an image leaves at
    /// its first misclassified iterate within the radius, which is what is stored.
    let attack how : Attack = named (fun threat -> Some threat.Radius) how
