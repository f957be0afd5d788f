namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Training with labels, the data set's or those that an earlier stage made: what methods do before or after
/// they contrast.
[<RequireQualifiedAccess>]
module Supervised =

    let private clean = SimClr.clean
    let private logits pass view = LossContext.head "logits" pass view
    let private weak = Crop.padded 4L

    /// Cross-entropy on clean images (He et al. 2016's recipe for CIFAR): a classifier that nothing defends.
    let classifier = {
        SimClr.method with
            Name = "supervised"
            Summary = "cross-entropy on clean images, with their labels"
            Citation = "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, CVPR 2016"
            Head = Head.classifier "logits" None
            Step =
                Step.create
                    (Step.views [ "x", weak ])
                    [ Pass.train "clean" [ "x" ] clean ]
                    "CE(logits(x), y)"
                    (fun scene -> CrossEntropy.mean (logits "clean" "x" scene) (LossContext.classes scene))
            Recipe = {
                SimClr.method.Recipe with
                    Optimizer = Transform.sgd (Schedule.cosine 0.1 0.0) 0.9 5e-4
                    Batch = 128
                    Epochs = 200
            }
    }

    /// A linear classifier of pseudo-labels on a frozen encoder from an earlier stage (the LP of
    /// LP-AFT; Kumar et al. 2022): 10 epochs of SGD at 0.01.
    let linearProbe from labels classes = {
        classifier with
            Name = "linear-probe"
            Summary = sprintf "cross-entropy of a linear layer with %s" labels
            From = Some from
            Head = Head.classifier "logits" (Some classes)
            Step =
                Step.create
                    (Step.views [ "x", weak ])
                    [ { Pass.eval "clean" [ "x" ] clean with Learn = true } ]
                    (sprintf "CE(linear(stop f(x)), %s)" labels)
                    (fun scene -> CrossEntropy.mean (logits "clean" "x" scene) (scene.Labels labels))
            Recipe = {
                classifier.Recipe with
                    Optimizer = Transform.sgd (Schedule.constant 0.01) 0.9 2e-4
                    Batch = 512
                    Epochs = 10
                    Trains = Named.create "the linear layer" (fun name -> name.StartsWith "logits.")
            }
    }

    /// TRADES (Zhang et al. 2019) on all weights of an earlier stage's network, with pseudo-labels: the AFT of
    /// LP-AFT (Luo, Wang and Wang 2023): beta 6, 10 steps, 25 epochs of SGD at 0.1, a tenth from epoch 10 and
    /// again from 20. start: the attack's, noise of 0.001 as TRADES has it; from the image itself the first
    /// gradient is 0.
    let trades from labels classes start = {
        classifier with
            Name = "trades"
            Summary = sprintf "TRADES with %s" labels
            Citation =
                "Zhang et al.: Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019"
            From = Some from
            Head = Head.classifier "logits" (Some classes)
            Step = {
                Step.create
                    (Step.views [ "x", weak ])
                    [ Pass.train "clean" [ "x" ] clean; Pass.train "adv" [ "a" ] clean ]
                    (sprintf "CE(x, %s) + 6 KL(p(x) || p(a))" labels)
                    (fun scene ->
                        Trades.loss
                            6.0
                            (logits "clean" "x" scene)
                            (logits "adv" "a" scene)
                            (scene.Labels labels)) with
                    Adversaries = [
                        {
                            Makes = [ "a", "x" ]
                            Threat = Threat.create Linf (8.0 / 255.0)
                            Ascent = { GradientAttack.trades 0.25 10 with Start = start }
                            Passes = [ Pass.eval "still" [ "x" ] clean; Pass.eval "moved" [ "a" ] clean ]
                            Objective =
                                fun scene ->
                                    Trades.divergence (logits "still" "x" scene) (logits "moved" "a" scene)
                            Leaks = false
                        }
                    ]
            }
            Recipe = {
                classifier.Recipe with
                    Optimizer = Transform.sgd (Schedule.drops 0.1 [ 10, 0.1; 20, 0.01 ]) 0.9 1e-4
                    Batch = 512
                    Epochs = 25
            }
    }
