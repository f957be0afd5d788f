namespace AdvContrast.Core.Losses

open AdvContrast.Core
open AdvContrast.Core.Foundation

/// A robust student drawn to a clean teacher, and to itself under attack. Nothing is contrasted: a row meets
/// its partner alone, so the contrastive kernel has no part in it.
///
/// What a frozen teacher gives comes without gradient, so these losses stop none on the teacher's side.
[<RequireQualifiedAccess>]
module Distillation =

    let private decoupled (weight: float) student attacked teacher =
        (Cosine.rows student teacher + Cosine.rows attacked student * weight).mean().neg()

    /// DeACL (Zhang, Zhang, Zhang, Niu, Feng, Yoo and Kweon, ECCV 2022): -mean cos(s(x), t(x)) - weight *
    /// mean cos(s(x'), s(x)); the student's clean side has gradient in both terms.
    ///
    /// weight: 0 or more (2 as published); student: s(x), studentAdv: s(x'), teacher: t(x); [n; d], partners
    /// by row, raw, n at least 1. Result 0-dim, -1 - weight to 1 + weight.
    let deAcl weight (student: Tensor) (studentAdv: Tensor) (teacher: Tensor) =
        Shape.nonNegative (nameof weight) weight

        Embeddings.together 1L [
            nameof student, student
            nameof studentAdv, studentAdv
            nameof teacher, teacher
        ]

        Scope.tensor (fun () -> decoupled weight student studentAdv teacher)

    /// The objective of DeACL's attack: -sum of cos(s(x'), t(x)).
    ///
    /// studentAdv: s(x'), teacher: t(x); [n; d], partners by row, raw, n at least 1. Result 0-dim, -n to n.
    let deAclAttack (studentAdv: Tensor) (teacher: Tensor) =
        Embeddings.together 1L [ nameof studentAdv, studentAdv; nameof teacher, teacher ]
        Scope.tensor (fun () -> (Cosine.rows studentAdv teacher).sum().neg())

    /// DAQ-SDP (Zhang, Tang and Cao, NeurIPS 2024): the mean of DeACL's loss over a weak and a strong view,
    /// which pass through branches of their own.
    ///
    /// weight: 0 or more (2 as published); of either view the student clean, the student attacked and the
    /// teacher, as `deAcl` takes them. Result 0-dim.
    let twoViews weight (weak: Tensor * Tensor * Tensor) (strong: Tensor * Tensor * Tensor) =
        Shape.nonNegative (nameof weight) weight

        for name, (student, studentAdv, teacher) in [ nameof weak, weak; nameof strong, strong ] do
            Embeddings.together 1L [ name, student; name, studentAdv; name, teacher ]

        Scope.tensor (fun () ->
            let view (student, studentAdv, teacher) = decoupled weight student studentAdv teacher
            (view weak + view strong) * 0.5)

    let private sameRows name (features: Tensor) (projections: Tensor) =
        if projections.shape[0] <> features.shape[0] then
            invalidArg
                name
                (sprintf
                    "features and projections of as many rows were expected, got %s and %s."
                    (Shape.text features)
                    (Shape.text projections))

    /// ProFeAT (Addepalli, Dey and Babu, TMLR 2024): DeACL's loss in the space of features and in that of the
    /// teacher's frozen projector, (1 - w) times the one and w times the other.
    ///
    /// projectionWeight: w, 0 to 1 (0.5 as published); robustness: weight of the second term of either, 0 or
    /// more (8 as published for CIFAR-100). Each of the others is (features [n; d], projections [n; p]), raw,
    /// n at least 1: the student on its view, the student on that view attacked, the teacher on its own
    /// view. Result 0-dim.
    let proFeAt
        (projectionWeight: float)
        robustness
        (student: Tensor * Tensor)
        (studentAdv: Tensor * Tensor)
        (teacher: Tensor * Tensor)
        =
        Shape.nonNegative (nameof projectionWeight) projectionWeight
        Shape.nonNegative (nameof robustness) robustness

        if projectionWeight > 1.0 then
            invalidArg (nameof projectionWeight) (sprintf "0 to 1 was expected, got %g." projectionWeight)

        let named = [ nameof student, student; nameof studentAdv, studentAdv; nameof teacher, teacher ]
        Embeddings.together 1L [ for name, (features, _) in named -> name, features ]
        Embeddings.together 1L [ for name, (_, projections) in named -> name, projections ]
        student ||> sameRows (nameof student)

        Scope.tensor (fun () ->
            let space part = decoupled robustness (part student) (part studentAdv) (part teacher)
            space fst * (1.0 - projectionWeight) + space snd * projectionWeight)

    /// The objective of ProFeAT's attack: -sum cos(f(x'), stop(f(x))) - sum cos(z(x'), z_teacher), away from the
    /// student's own clean features and from the teacher's projections.
    ///
    /// studentAdv: (features [n; d], projections [n; p]) of the attacked view; student: the clean view's
    /// features [n; d]; teacher: the teacher's projections [n; p]; raw, n at least 1. Result 0-dim, -2n to
    /// 2n.
    let proFeAtAttack (studentAdv: Tensor * Tensor) (student: Tensor) (teacher: Tensor) =
        let features, projections = studentAdv
        Embeddings.together 1L [ nameof studentAdv, features; nameof student, student ]
        Embeddings.together 1L [ nameof studentAdv, projections; nameof teacher, teacher ]
        sameRows (nameof studentAdv) features projections

        Scope.tensor (fun () ->
            (Cosine.towards student features + Cosine.rows projections teacher).sum().neg())
