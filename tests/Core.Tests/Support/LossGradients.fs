/// Gradients of losses of several embeddings, and what they should be.
module Support.LossGradients

open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open Support.Arrays
open Support.Laws
open Support

/// A loss's value, and its gradient in each input; None where none flows.
let withGradients (loss: Tensor list -> Tensor) (inputs: Tensor list) =
    let inputs = [ for x in inputs -> x.detach().requires_grad_ true ]
    let value = loss inputs
    Expect.equal value.shape [||] "a loss is one number"
    number value, Autograd.grad false value inputs |> List.map (Option.map floats)

/// That the gradient in each input is the slope of a slow loss; fixed inputs, by number, get none.
let sloped (fixedOnes: int list) (slow: float[][] list -> float) loss (inputs: float[][] list) =
    let _, gradients = withGradients loss (inputs |> List.map matrix)

    for i, gradient in List.indexed gradients do
        if List.contains i fixedOnes then
            Expect.isNone gradient $"input {i} is fixed"
        else
            let f (flat: float[]) =
                slow (inputs |> List.updateAt i (Array.chunkBySize inputs[i].[0].Length flat))

            let expected = slopes 1e-5 f (Array.concat inputs[i])
            Expect.isSome gradient $"input {i} has gradient"
            relative 1e-6 gradient.Value expected $"gradient in input {i}"

/// That a loss has a case's value and gradients, as they stand under `key` ("published", "correct").
let agrees key (case: GoldenValues.Case) (names: string list) (loss: Map<string, Tensor> -> Tensor) =
    let inputs = [ for name in names -> GoldenValues.array [ "inputs"; name ] case ]
    let value, gradients = withGradients (List.zip names >> Map.ofList >> loss) inputs
    let tolerance = GoldenValues.real [ "tolerance" ] case
    close tolerance [| value |] [| GoldenValues.real [ key; "value" ] case |] "value"

    for name, gradient in List.zip names gradients do
        let expected = GoldenValues.values [ key; "gradients"; name ] case
        close tolerance (gradient |> Option.defaultValue (Array.map (fun _ -> 0.0) expected)) expected name

// --- embeddings changed in ways that most losses do not see

/// Rows in another order.
let permuted (order: int[]) (rows: 'a[]) = order |> Array.map (Array.get rows)

/// Each row made longer or shorter.
let scaled (source: Source) rows = rows |> Array.map (fun row -> times (exp (source.Uniform(-5.0, 5.0))) row)

/// That a loss sees neither the order of partners, nor a common rotation, nor the length of a row.
let invariant (source: Source) (loss: Tensor list -> Tensor) (inputs: float[][] list) =
    let value inputs = [| number (loss (inputs |> List.map matrix)) |]
    let expected = value inputs
    let order = source.Order inputs[0].Length
    let turn = rotation source inputs[0].[0].Length
    relative 1e-10 (value (inputs |> List.map (permuted order))) expected "in another order"
    relative 1e-10 (value (inputs |> List.map (fun x -> multiply x turn))) expected "turned"
    relative 1e-10 (value (inputs |> List.map (scaled source))) expected "scaled"

/// That half precision is reckoned in single precision.
let halves (loss: Tensor list -> Tensor) (inputs: float[][] list) =
    let half = [ for x in inputs -> (matrix x).``to`` torch.bfloat16 ]
    let value = loss half
    Expect.equal value.dtype torch.float32 "type"
    Expect.equal (number value) (number (loss (half |> List.map single))) "value"
