namespace AdvContrast.Core.Methods

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Robustness-aware coreset selection (Xu, Zhang, Liu, Sugiyama and Kankanhalli, NeurIPS 2023): after a while
/// ACL trains on those batches alone whose step lowers most how far an attack moves held-out images.
[<RequireQualifiedAccess>]
module Rcs =

    let private adv = Branch "adv"

    // How far the attacked image's representation is from the clean one's, as distributions over dimensions.
    let private divergence clean attacked : Loss =
        fun scene ->
            Scope.tensor (fun () ->
                (Trades.divergence
                    (LossContext.embedding clean "x" scene)
                    (LossContext.embedding attacked "a" scene))
                    .mean())

    /// The divergence of held-out images from themselves under PGD-3, in eval mode: what a coreset is to
    /// lower.
    let divergenceStep =
        let looking name view = Pass.eval name [ view ] adv
        let learning pass = { pass with Learn = true }

        {
            Step.create
                (Step.views [ "x", View.identity ])
                [ learning (looking "clean" "x"); learning (looking "attacked" "a") ]
                "KL(softmax F(x) || softmax F(a))"
                (divergence "clean" "attacked") with
                Adversaries = [
                    {
                        Makes = [ "a", "x" ]
                        Threat = Threat.create Linf (8.0 / 255.0)
                        Ascent = GradientAttack.pgd 0.25 3
                        Passes = [ looking "still" "x"; looking "moved" "a" ]
                        Objective = divergence "still" "moved"
                        Leaks = false
                    }
                ]
        }

    // The head's matrices stand for all weights.
    let private isScored (name: string) =
        name.StartsWith "head." && name.EndsWith ".weight" && name.Contains "fc"

    // A gradient as one vector: of each matrix the mean over its output rows.
    let private flat (gradients: Parameters) =
        torch.cat ([| for g in gradients.Values -> g.mean [| 0L |] |], 0L)

    let private dot (a: Tensor) (b: Tensor) =
        Scope.value (fun () -> (a * b).sum().``to``(torch.float64).item<float>())

    // Greedily: the batch whose gradient agrees most with the divergence's, then a small step along it, and
    // again.
    let private greedy (step: Step) (share: float) (probe: Probe) (batches: int64[][]) =
        Scope.value (fun () ->
            let scores = batches |> Array.map (probe.Gradient isScored step probe.Parameters)
            let vectors = scores |> Array.map flat
            let count = max 1 (int (round (share * float batches.Length)))

            let rec pick (parameters: Parameters) (chosen: int list) =
                if chosen.Length = count then
                    Array.ofList (List.rev chosen)
                else
                    let wanted = probe.Gradient isScored divergenceStep parameters probe.HeldOut |> flat

                    let best =
                        [ 0 .. batches.Length - 1 ]
                        |> List.except chosen
                        |> List.maxBy (fun i -> dot vectors[i] wanted)

                    let moved =
                        scores[best]
                        |> Map.fold
                            (fun (all: Parameters) name g -> Map.add name (all[name] - g * 1e-3) all)
                            parameters

                    pick moved (best :: chosen)

            pick probe.Parameters [])

    /// A coreset of a share of the batches of a step, chosen anew every few epochs after a warm-up.
    let coreset (step: Step) warmUp every (share: float) = {
        Text =
            sprintf
                "all batches for %d epochs, then every %d epochs the %g of them that lower the held-out divergence most"
                warmUp
                every
                share
        HeldOut = 512
        Due = fun progress -> progress.Epoch >= warmUp && (progress.Epoch - warmUp) % every = 0
        Choose = greedy step share
    }

    /// ACL's dual stream on a fifth of its batches after 100 epochs, chosen anew every 20.
    let method = {
        Acl.dualStream with
            Name = "acl-rcs"
            Summary = "ACL on the batches that robustness gains most from"
            Citation =
                "Xu, Zhang, Liu, Sugiyama and Kankanhalli: Efficient Adversarial Contrastive Learning via Robustness-Aware Coreset Selection, NeurIPS 2023"
            Sampling = Chosen(coreset Acl.dualStream.Step 100 20 0.2)
    }
