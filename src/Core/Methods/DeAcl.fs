namespace AdvContrast.Core.Methods

open AdvContrast.Core.Foundation
open AdvContrast.Core.Networks
open AdvContrast.Core.Augment
open AdvContrast.Core.Optim
open AdvContrast.Core.Losses
open AdvContrast.Core.Attacks

/// Decoupled adversarial contrastive learning: a clean teacher first, then a student that keeps to it under
/// attack. DeACL (Zhang et al., ECCV 2022), ProFeAT (Addepalli, Dey and Babu, TMLR 2024) and DAQ-SDP (Zhang,
/// Tang and Cao, NeurIPS 2024) differ in the space, the views and the branches that the two are compared in.
[<RequireQualifiedAccess>]
module DeAcl =

    let private clean = SimClr.clean
    let private teacher = "teacher"
    let private weak = Crop.padded 4L
    let private features = LossContext.features
    // The teacher looks by its own batch norms; the branch named is one of the student's.
    let private teachingBy branch name view = Pass.eval name [ view ] branch |> Pass.by (Frozen teacher)
    let private teaching = teachingBy clean

    let private raising made from passes objective = Acl.attack [ made, from ] passes objective

    let private recipe optimizer = {
        SimClr.method.Recipe with
            Optimizer = optimizer
            Batch = 256
            Epochs = 100
    }

    let private rising decay = Transform.sgd (Schedule.warmUp 10 (Schedule.cosine 0.5 0.0)) 0.9 decay

    let private student name summary citation step optimizer = {
        SimClr.method with
            Name = name
            Summary = summary
            Citation = citation
            Before = [ Stage.Train(teacher, SimClr.method) ]
            From = Some teacher
            Head = Head.none
            Step = step
            Recipe = recipe optimizer
    }

    /// DeACL: features, one weak view, clean and attacked images in one batch.
    let method =
        let step = {
            Step.create
                (Step.views [ "x", weak ])
                [ Pass.train "student" [ "x"; "a" ] clean; teaching "teacher" "x" ]
                "-cos(s(x), t(x)) - 2 cos(s(a), s(x))"
                (fun scene ->
                    Distillation.deAcl
                        2.0
                        (features "student" "x" scene)
                        (features "student" "a" scene)
                        (features "teacher" "x" scene)) with
                Adversaries = [
                    raising "a" "x" [ Pass.eval "moved" [ "a" ] clean; teaching "teacher" "x" ] (fun scene ->
                        Distillation.deAclAttack (features "moved" "a" scene) (features "teacher" "x" scene))
                ]
        }

        student
            "deacl"
            "a student that agrees with a clean teacher, and with itself under attack"
            "Zhang et al.: Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial Robustness, ECCV 2022"
            step
            (rising 5e-4)

    // --- ProFeAT

    /// The teacher's projection head, which the student carries as well.
    let projector = Head.perceptron id 256L

    /// SimCLR with that head: ProFeAT's teacher.
    let projectingTeacher = { SimClr.method with Head = projector }

    /// Every parameter but the head's.
    let exceptHead: Named<string -> bool> =
        Named.create "all parameters but the head's" (fun name -> not (name.StartsWith "head."))

    // Features and projections of a view.
    let private both pass view scene = features pass view scene, LossContext.embedding pass view scene

    /// ProFeAT's step: the student on its own view and on that view attacked, the teacher on another; the
    /// views, the weights of projections and of robustness, and the attack's step (in radii) and steps.
    let projectingStep views (studentView: string) teacherView projectionWeight robustness step steps =
        let still = Pass.look (Pass.train "still" [ studentView ] clean)

        let adversary =
            raising
                "a"
                studentView
                [ Pass.eval "moved" [ "a" ] clean; still; teaching "teacher" teacherView ]
                (fun scene ->
                    Distillation.proFeAtAttack
                        (both "moved" "a" scene)
                        (features "still" studentView scene)
                        (LossContext.embedding "teacher" teacherView scene))

        {
            Step.create
                views
                [
                    Pass.train "student" [ studentView ] clean
                    Pass.train "attacked" [ "a" ] clean
                    teaching "teacher" teacherView
                ]
                (sprintf
                    "-c(s(x), t(x')) - %g c(s(a), s(x)), c = %g cos of features + %g cos of projections"
                    robustness
                    (1.0 - projectionWeight)
                    projectionWeight)
                (fun scene ->
                    Distillation.proFeAt
                        projectionWeight
                        robustness
                        (both "student" studentView scene)
                        (both "attacked" "a" scene)
                        (both "teacher" teacherView scene)) with
                Adversaries = [
                    { adversary with Ascent = { GradientAttack.pgd step steps with Start = Uniform false } }
                ]
        }

    /// ProFeAT: features and the teacher's frozen projections, a strong view for the student. The weights are
    /// those published for CIFAR-100.
    let proFeAt =
        let views = Step.views [ "w", weak; "s", View.compose [ AutoAugment.autoAugmentCifar10; weak ] ]

        let optimizer =
            Transform.sgd (Schedule.riseFrom 0.01 10 (Schedule.perEpoch (Schedule.cosine 0.5 5e-4))) 0.9 3e-4

        {
            student
                "profeat"
                "DeACL in the spaces of features and of the teacher's frozen projections"
                "Addepalli, Dey and Babu: ProFeAT: Projected Feature Adversarial Training for Self-Supervised Learning of Robust Representations, TMLR 2024"
                (projectingStep views "s" "w" 0.5 8.0 0.25 5)
                optimizer with
                Before = [ Stage.Train(teacher, projectingTeacher) ]
                Head = projector
                Recipe = { recipe optimizer with Epochs = 101; Trains = exceptHead }
        }

    // --- DAQ-SDP

    /// DAQ-SDP: DeACL on a weak and a strong view, each clean and attacked through batch norms of its own.
    let daqSdp =
        let sides = [
            "w", "aw", Branch "weak-clean", Branch "weak-adv"
            "s", "as", Branch "strong-clean", Branch "strong-adv"
        ]

        let teachingOn (view: string) = teachingBy (Branch "weak-clean") ("t" + view) view

        let triple (view, made, _, _) scene =
            features view view scene, features made made scene, features ("t" + view) view scene

        let adversary (view, made, _, adv) =
            raising made view [ Pass.eval "moved" [ made ] adv; teachingOn view ] (fun scene ->
                Distillation.deAclAttack (features "moved" made scene) (features ("t" + view) view scene))

        let step = {
            Step.create
                (Step.views [ "w", weak; "s", View.compose [ AutoAugment.trivialAugmentWide; weak ] ])
                [
                    for view, made, natural, adv in sides do
                        Pass.train view [ view ] natural
                        Pass.train made [ made ] adv
                        teachingOn view
                ]
                "mean over weak and strong of -cos(s(x; clean), t(x)) - 2 cos(s(a; adv), s(x; clean))"
                (fun scene -> Distillation.twoViews 2.0 (triple sides[0] scene) (triple sides[1] scene)) with
                Adversaries = List.map adversary sides
        }

        {
            student
                "daq-sdp"
                "DeACL on a weak and a strong view, with four sets of batch norms"
                "Zhang, Tang and Cao: DAQ-SDP, NeurIPS 2024"
                step
                (Transform.sgd (Schedule.riseFrom 0.003 10 (Schedule.cosine 0.5 0.0)) 0.9 5e-4) with
                Quirks =
                    Map [
                        "no perturbation of weights", "the paper's, from epoch 60, is in no published code"
                    ]
                Branches = [
                    for _, _, natural, adv in sides do
                        yield! [ natural; adv ]
                ]
                Deploy = Online, Branch "weak-adv"
        }
