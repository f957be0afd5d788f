/// High frequencies of images.
module Tests.Augment.FrequencyTests

open System
open System.Numerics
open Expecto
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.Augment
open AdvContrast.Testing
open Support.Arrays
open Support.Fixtures
open Support.Laws
open Support.TestImages

let private highPass radius (x: Tensor) = (Frequency.highPass radius).Run (place (int x.shape[0])) x

// A frequency with its sign: the transform's second half holds the negative ones.
let private signed n u = if 2 * u <= n then u else u - n

let private isHigh radius h w u v =
    let u, v = float (signed h u), float (signed w v)
    sqrt (u * u + v * v) >= radius

// The Fourier transform of one channel of h by w (sign -1), or h * w times its inverse (sign 1).
let private fourier sign h w (at: int -> int -> Complex) u v =
    let mutable sum = Complex.Zero

    for r in 0 .. h - 1 do
        for c in 0 .. w - 1 do
            let turns = float (u * r) / float h + float (v * c) / float w
            sum <- sum + at r c * Complex.FromPolarCoordinates(1.0, sign * 2.0 * Math.PI * turns)

    sum

// Transform, removal and inverse, by double loops over double loops.
let private slowly radius h w (channel: float[]) =
    let spectrum =
        Array2D.init h w (fun u v ->
            if isHigh radius h w u v then
                fourier -1.0 h w (fun r c -> Complex(channel[r * w + c], 0.0)) u v
            else
                Complex.Zero)

    [|
        for r in 0 .. h - 1 do
            for c in 0 .. w - 1 do
                (fourier 1.0 h w (fun u v -> spectrum[u, v]) r c).Real / float (h * w)
    |]

let private wave h w u v phase =
    tensor [ 1; 1; h; w ] [|
        for r in 0 .. h - 1 do
            for c in 0 .. w - 1 do
                let turns = float (u * r) / float h + float (v * c) / float w
                cos (2.0 * Math.PI * turns + phase)
    |]

[<Tests>]
let tests =
    testList "Augment.Frequency" [
        for h, w in [ 8, 8; 7, 7; 6, 9; 5, 4; 1, 6; 3, 2 ] do
            test (sprintf "%d by %d pixels: the transform by double loops" h w) (fun () ->
                for radius in [ 0.5; 1.0; 2.5; 3.0; 5.0; 5.5 ] do
                    let x = noise (Source 3) [ 2; 3; h; w ]
                    let expected = rows x |> Array.collect (Array.chunkBySize (h * w))
                    close
                        1e-12
                        (floats (highPass radius x))
                        (Array.collect (slowly radius h w) expected)
                        (sprintf "radius %g" radius))

        test "as published: 32 pixels, radius 8, in single precision" (fun () ->
            let x = images (Source 4) 2 3 32
            close 1e-5 (floats (highPass 8.0 x)) (floats (highPass 8.0 (x.``to`` torch.float64))) "precision"
            // What a single bright pixel loses is its share of the frequencies that are removed.
            let spot = torch.zeros ([| 1L; 1L; 32L; 32L |], dtype = torch.float64)
            spot.narrow(2L, 5L, 1L).narrow(3L, 9L, 1L).fill_(1.0.ToScalar()) |> ignore
            let removed =
                Seq.allPairs [ 0..31 ] [ 0..31 ] |> Seq.filter (fun (u, v) -> not (isHigh 8.0 32 32 u v))
            let lost = floats (spot - highPass 8.0 spot)
            close 1e-12 [| dot lost lost |] [| float (Seq.length removed) / 1024.0 |] "share")

        test "constant images vanish, and so does the mean of any other" (fun () ->
            let constant = (torch.ones ([| 2L; 3L; 9L; 6L |], dtype = torch.float64)) * 0.7
            close 1e-14 (floats (highPass 0.1 constant)) (Array.create 324 0.0) "constant"
            let x = noise (Source 5) [ 2; 3; 9; 6 ]
            let y = highPass 0.1 x
            close 1e-12 (floats y) (floats (x - x.mean ([| 2L; 3L |], true))) "the mean alone"
            Expect.isLessThan (Array.min (floats y)) 0.0 "values are of either sign")

        test "waves below the radius vanish, waves from it on stay as they are" (fun () ->
            for h, w in [ 8, 8; 9, 6 ] do
                for u in 0 .. h - 1 do
                    for v in 0 .. w - 1 do
                        let x = wave h w u v 0.4
                        let expected = if isHigh 3.0 h w u v then floats x else Array.create (h * w) 0.0
                        close 1e-12 (floats (highPass 3.0 x)) expected (sprintf "wave %d, %d" u v))

        test "a radius beyond all frequencies leaves nothing" (fun () ->
            let x = noise (Source 6) [ 2; 1; 6; 7 ]
            close 1e-12 (floats (highPass 30.0 x)) (Array.create 84 0.0) "pixels")

        test "linear, and a second time without effect" (fun () ->
            let x, y = noise (Source 7) [ 3; 3; 8; 5 ], noise (Source 8) [ 3; 3; 8; 5 ]
            let high = highPass 2.0
            close 1e-12 (floats (high (x * 2.0 - y * 0.3))) (floats (high x * 2.0 - high y * 0.3)) "linear"
            close 1e-12 (floats (high (high x))) (floats (high x)) "idempotent")

        test "every image by itself, whatever the draw; what was given stays" (fun () ->
            let x = images (Source 9) 4 3 8
            let before = bits x
            let together = highPass 2.0 x
            Expect.equal together.dtype torch.float32 "type"
            Expect.equal (bits x) before "what was given"
            Expect.equal
                (bits ((Frequency.highPass 2.0).Run { place 4 with Seed = 77UL } x))
                (bits together)
                "another draw"

            for i, expected in Array.indexed (rows together) do
                close 1e-6 (floats (highPass 2.0 (row i x))) expected "alone")

        test "gradients pass" (fun () ->
            let weights = noise (Source 10) [ 1; 2; 4; 5 ]
            let values = (Source 11).Uniforms(40, 0.0, 1.0)
            let weighed (values: float[]) =
                Scope.value (fun () ->
                    number (
                        (highPass 1.5 (tensor [ 1; 2; 4; 5 ] values)).pow(2.0.ToScalar()).mul(weights).sum()
                    ))
            let x = (tensor [ 1; 2; 4; 5 ] values).requires_grad_ true
            let loss = (highPass 1.5 x).pow(2.0.ToScalar()).mul(weights).sum()
            let gradient = torch.autograd.grad (ResizeArray [ loss ], ResizeArray [ x ])
            close 1e-7 (floats gradient[0]) (slopes 1e-5 weighed values) "slopes")

        test "refuses a radius that is none, and what is no image" (fun () ->
            for radius in [ 0.0; -1.0; nan; infinity ] do
                refuses [ "radius" ] (fun () -> Frequency.highPass radius |> ignore) "radius"

            refuses
                [ "[n; c; h; w]"; "[3; 4]" ]
                (fun () -> highPass 1.0 (torch.ones [| 3L; 4L |]) |> ignore)
                "rank")
    ]
