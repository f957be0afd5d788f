/// What all tests share: closeness of arrays, scopes, and counts of live tensors.
module Support.Laws

open System
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Runs the body in a scope of its own; afterwards as many tensors live as before.
let balanced (body: unit -> unit) =
    let before = Autograd.liveTensors ()
    Scope.value body
    Expect.equal (Autograd.liveTensors () - before) 0L "tensors left over"

/// A test in a scope of its own that leaves no tensor behind.
let test name (body: unit -> unit) = testCase name (fun () -> balanced body)

/// That arrays agree within a distance, and if not, where not.
let close (tolerance: float) (actual: float[]) (expected: float[]) message =
    Expect.equal actual.Length expected.Length (message + ": lengths")

    (actual, expected)
    ||> Array.iteri2 (fun i a e ->
        if not (abs (a - e) <= tolerance) then
            failtestf "%s: at %d expected %.12g, was %.12g (allowed %g)" message i e a tolerance)

/// That arrays agree within a part of the larger magnitude (or of 1, where that is less).
let relative (tolerance: float) (actual: float[]) (expected: float[]) message =
    Expect.equal actual.Length expected.Length (message + ": lengths")

    (actual, expected)
    ||> Array.iteri2 (fun i a e ->
        let allowed = tolerance * max 1.0 (max (abs a) (abs e))

        if not (abs (a - e) <= allowed) then
            failtestf "%s: at %d expected %.12g, was %.12g (allowed %g)" message i e a allowed)

/// That every value is at most a bound.
let atMost (bound: float) (values: float[]) message =
    values
    |> Array.iteri (fun i v ->
        if not (v <= bound) then failtestf "%s: value %d is %.12g, above %.12g" message i v bound)

/// That every value lies in a range, ends included.
let within low high (values: float[]) message =
    values
    |> Array.iteri (fun i v ->
        if not (v >= low && v <= high) then
            failtestf "%s: value %d is %.12g, outside %g to %g" message i v low high)

/// That a call is refused as a programming fault, in words that hold all of these.
let refuses (parts: string list) (call: unit -> unit) message =
    Expect.throwsC call (fun raised ->
        match raised with
        | :? ArgumentException ->
            for part in parts do
                Expect.stringContains raised.Message part message
        | _ -> failtestf "%s: expected an ArgumentException, was %O" message raised)

/// The bytes of a tensor: bit for bit.
let bits (x: Tensor) = TensorTree.bytes x

/// The error of a result.
let wantError result message : Error = Expect.wantError (result |> Result.map ignore) message

/// That an error is of a kind, and says all of these.
let says (parts: string list) (error: Error) message =
    for part in parts do
        Expect.stringContains (Error.message error) part message

// --- files

/// A folder of its own, gone afterwards.
let inFolder (body: string -> unit) =
    let folder = IO.Directory.CreateTempSubdirectory "advcontrast-"

    try
        body folder.FullName
    finally
        folder.Delete true
