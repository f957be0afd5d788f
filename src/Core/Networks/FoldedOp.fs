namespace AdvContrast.Core.Networks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// A piece of a layer in eval mode at fixed weights: images to images. Parts that follow one another merge.
[<NoEquality; NoComparison>]
type FoldedOp =
    /// A convolution or a linear map: what it does with a weight and a bias (null for none), once, and then with
    /// images.
    | Product of weight: Tensor * bias: Tensor * run: (Tensor -> Tensor -> (Tensor -> Tensor))
    /// Each channel times its scale, plus its shift: a batch norm; alone is the same as one function.
    | Affine of scale: Tensor * shift: Tensor * alone: (Tensor -> Tensor)
    /// Two ways through joined.
    | Sum of (Tensor -> Tensor)
    | Relu
    | Function of (Tensor -> Tensor)

[<RequireQualifiedAccess>]
module FoldedOp =

    /// The sum of two tensors of the caller's, which are freed.
    let add (a: Tensor) (b: Tensor) =
        use a = a
        use b = b
        a + b

    /// The same in place of the first, which no gradient needs.
    let addTo (a: Tensor) (b: Tensor) =
        use b = b
        a.add_ b

    // ReLU's gradient needs its output; what a function gives may be another's.
    let private givesOwn part =
        match part with
        | Product _
        | Affine _
        | Sum _ -> true
        | Relu
        | Function _ -> false

    /// Whether what comes out is a tensor of its own that no gradient needs: one may work in its place.
    let isFresh (parts: FoldedOp list) = parts |> List.tryLast |> Option.exists givesOwn

    // Rows of a weight, each times a number of its own.
    let private rows (weight: Tensor) (scale: Tensor) =
        weight * scale.view [| -1L; yield! Array.create (weight.shape.Length - 1) 1L |]

    let private product prepare (weight: Tensor) (bias: Tensor) run =
        let weight: Tensor = prepare weight
        run weight (if isNull bias then null else Convolution.input weight bias)

    // (W x + b) * scale + shift = (scale W) x + (b * scale + shift).
    let private scaled prepare (weight: Tensor) (bias: Tensor) run (scale: Tensor) shift =
        let made = Scope.tensor (fun () -> prepare (rows weight scale))
        let offset =
            Scope.tensor (fun () ->
                (if isNull bias then shift + 0.0 else bias * scale + shift) |> Convolution.input made)
        run made offset

    /// The parts as one function, batch norms merged into the product before them (Jacob et al. 2018, section
    /// 3.2). prepare is applied to each weight once: another number format or layout. A bias takes
    /// its weight's number format.
    let compile (prepare: Tensor -> Tensor) (parts: FoldedOp list) : Tensor -> Tensor =
        // fresh: whether no gradient needs what comes in, nor anyone else, so that ReLU may work in place.
        let rec functions fresh parts =
            match parts with
            | Product(weight, bias, run) :: Affine(scale, shift, _) :: rest ->
                scaled prepare weight bias run scale shift :: functions true rest
            | part :: rest ->
                let f =
                    match part with
                    | Product(weight, bias, run) -> product prepare weight bias run
                    | Affine(_, _, alone) -> alone
                    | Relu -> if fresh then _.relu_() else _.relu()
                    | Sum f
                    | Function f -> f

                f :: functions (givesOwn part) rest
            | [] -> []

        let functions = functions false parts

        fun start ->
            (start, functions)
            ||> List.fold (fun x f ->
                let next = f x
                let isFree = not (obj.ReferenceEquals(x, start) || obj.ReferenceEquals(x, next))
                if isFree then x.Dispose()
                next)
