namespace AdvContrast.Core.Methods

open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Attacks

/// A recipe of this library's own for little time: a clean teacher, a student that keeps to it under attack,
/// and TRADES with the teacher's clusters as classes. Its parts are those of ProFeAT (Addepalli, Dey and Babu
/// 2024), adversarial weight perturbation (Wu, Xia and Wang 2020) and DynACL's post-processing (Luo, Wang and
/// Wang 2023), each on an average of the weights.
[<RequireQualifiedAccess>]
module RobustDistill =

    let private clean = SimClr.clean
    let private citation = "this library's own; from ProFeAT (2024), AWP (2020) and DynACL (2023)"
    let private ema = "ema"
    let private classes = 10
    let private labels = PseudoLabels.label classes

    // Evaluation takes the average; its batch norms' statistics are averaged as well.
    let private averaged method = {
        method with
            Averages = [ { Name = ema; Decay = Schedule.rising 0.999; Statistics = Averaged; Lags = false } ]
            Deploy = Average ema, clean
    }

    // ACL's views, the projector that the student will carry.
    let private teacher epochs =
        let method = DeAcl.projectingTeacher

        {
            method with
                Citation = citation
                Step = { method.Step with Views = SimClr.twoViews (Acl.views 1.0) }
                Recipe = { method.Recipe with Epochs = epochs }
        }

    let private student name summary epochs step steps =
        averaged {
            DeAcl.method with
                Name = name
                Summary = summary
                Citation = citation
                Head = DeAcl.projector
                Step = DeAcl.projectingStep (Step.views [ "x", Crop.padded 4L ]) "x" "x" 0.5 2.0 step steps
                Recipe = { DeAcl.method.Recipe with Epochs = epochs; Trains = DeAcl.exceptHead }
        }

    let private agreeing = "a student that agrees with a clean teacher, and with itself under attack"

    /// The plain form: 300 epochs of teacher, 100 of ProFeAT's loss on one weak view with PGD-5.
    let plain = {
        student "robust-distill-plain" agreeing 100 0.25 5 with
            Before = [ Stage.Train("teacher", teacher 300) ]
    }

    /// The whole: 250 epochs of teacher, 80 of the student with PGD-3 and, in the last 30, weights perturbed by
    /// 0.005 of their length; k-means of the teacher's features, 10 epochs of a linear layer and 25 of TRADES
    /// with the clusters as classes.
    let method =
        let perturbing = Schedule.join (Schedule.constant 0.0) [ 50, Schedule.constant 0.005 ]

        let distilled =
            let method = student "student" agreeing 80 0.375 3
            // Its teacher is a stage of the whole.
            { method with Before = []; Step = { method.Step with WeightStep = perturbing } }

        {
            averaged (Supervised.trades "linear" labels classes (Gaussian 0.001)) with
                Name = "robust-distill"
                Summary = "a robust student of a clean teacher, then TRADES with the teacher's clusters"
                Citation = citation
                Before = [
                    Stage.Train("teacher", teacher 250)
                    Stage.Train("student", distilled)
                    Stage.Compute("clusters", PseudoLabels.stage "teacher" None [ classes ])
                    Stage.Train("linear", Supervised.linearProbe "student" labels classes)
                ]
        }
