namespace AdvContrast.Core

open TorchSharp

/// A piece of a layer in eval mode at fixed weights: images to images. Parts that follow one another merge.
[<NoEquality; NoComparison>]
type Part =
    /// A convolution or a linear map: what it does with images, a weight and a bias (null for none).
    | Product of weight: Tensor * bias: Tensor * run: (Tensor -> Tensor -> Tensor -> Tensor)
    /// Each channel times its scale, plus its shift: a batch norm; alone is the same as one function.
    | Affine of scale: Tensor * shift: Tensor * alone: (Tensor -> Tensor)
    | Function of (Tensor -> Tensor)

[<RequireQualifiedAccess>]
module Part =

    // Rows of a weight, each times a number of its own.
    let private rows (weight: Tensor) (scale: Tensor) =
        weight * scale.view [| -1L; yield! Array.create (weight.shape.Length - 1) 1L |]

    let private product prepare weight bias run =
        let prepared (x: Tensor) = if isNull x then null else prepare x
        let weight, bias = prepared weight, prepared bias
        fun x -> run x weight bias

    // (W x + b) * scale + shift = (scale W) x + (b * scale + shift).
    let private scaled prepare (weight: Tensor) (bias: Tensor) run (scale: Tensor) shift =
        let made = Scope.tensor (fun () -> prepare (rows weight scale))
        let offset =
            Scope.tensor (fun () -> prepare (if isNull bias then shift + 0.0 else bias * scale + shift))
        fun x -> run x made offset

    /// The parts as one function, batch norms merged into the product before them (Jacob et al. 2018, section
    /// 3.2). prepare is what becomes of each weight and bias once: another number format or layout.
    let compile (prepare: Tensor -> Tensor) (parts: Part list) : Tensor -> Tensor =
        let rec functions parts =
            match parts with
            | Product(weight, bias, run) :: Affine(scale, shift, _) :: rest ->
                scaled prepare weight bias run scale shift :: functions rest
            | Product(weight, bias, run) :: rest -> product prepare weight bias run :: functions rest
            | Affine(_, _, alone) :: rest -> alone :: functions rest
            | Function f :: rest -> f :: functions rest
            | [] -> []

        let functions = functions parts
        fun x -> (x, functions) ||> List.fold (fun x f -> f x)
