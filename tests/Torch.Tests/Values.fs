/// Tensors in and numbers out, for the tests.
module Values

open System
open Expecto
open TorchSharp

/// A number, where an overload for tensors makes a bare one ambiguous.
let scalar (x: float) : Scalar = x.ToScalar()

let vector (values: float list) = torch.tensor (Array.ofList values)

let matrix (rows: float list list) =
    torch.tensor (rows |> List.concat |> Array.ofList, rows.Length, rows.Head.Length)

let numbers (x: torch.Tensor) : float list =
    use scope = torch.NewDisposeScope()
    x.detach().``to``(torch.float64).contiguous().data<float>().ToArray() |> List.ofArray

let number (x: torch.Tensor) = numbers x |> List.exactlyOne

let shape (x: torch.Tensor) = List.ofArray x.shape

/// The values agree to a relative and absolute 1e-9.
let near (actual: torch.Tensor) (expected: float list) message =
    let found = numbers actual
    Expect.equal found.Length expected.Length (message + ": count")

    for a, e in List.zip found expected do
        if not (Double.IsNaN a && Double.IsNaN e) then
            Expect.isTrue (a = e || abs (a - e) <= 1e-9 * (1.0 + abs e)) $"{message}: {a} for {e}"

/// How many tensors are alive once the finalisers have freed what nobody holds.
let settled () =
    for _ in 1..2 do
        GC.Collect()
        GC.WaitForPendingFinalizers()

    torch.Tensor.TotalCount

/// A test in a scope of its own.
let inScope name (test: unit -> unit) =
    testCase name (fun () ->
        use scope = torch.NewDisposeScope()
        test ())
