namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// The windows that the Square attack puts into images (Andriushchenko et al. 2020; Croce and Hein 2021 for
/// L1).
[<RequireQualifiedAccess>]
module SquareWindow =

    /// The side of a window that covers a share of an image, in pixels: 1 or more in Linf, else odd and 3 or
    /// more; never longer than the image's shorter side.
    let side norm share height width =
        let nearest = int (round (sqrt (share * float height * float width)))

        let wanted =
            match norm with
            | Linf -> max nearest 1
            | L2
            | L1 -> max nearest 3 ||| 1

        min wanted (min height width)

    /// The paper's eta, what a window of L2 or L1 adds, by rows: one hump above another of the other sign, of
    /// length 1 in the norm.
    let bump norm side =
        let power, length =
            match norm with
            | L1 -> 4.0, Seq.sumBy abs
            | L2
            | Linf -> 2.0, (fun (values: float seq) -> sqrt (values |> Seq.sumBy (fun v -> v * v)))

        let unit (rows: float[][]) =
            let size = length (Seq.concat rows)
            rows |> Array.map (Array.map (fun v -> v / size))

        // Nested rectangles about the middle, the smaller the higher.
        let hump height =
            let down, across = height / 2, side / 2

            Array.init height (fun i ->
                Array.init side (fun j ->
                    seq { max (abs (i - down)) (abs (j - across)) .. max down across }
                    |> Seq.sumBy (fun k -> 1.0 / float (k + 1) ** power)))
            |> unit

        let upper = side / 2
        unit (Array.append (hump upper) (hump (side - upper) |> Array.map (Array.map (~-))))

    // The bump's rows one after another, as it is and transposed.
    let private bumps norm side =
        let rows = bump norm side
        Array.concat rows, Array.concat (Array.transpose rows)

    let private boxed threat (x: Tensor) =
        match threat.Box with
        | Some(low, high) -> x.clamp (low.ToScalar(), high.ToScalar())
        | None -> x.alias ()

    // 1 or -1 for numbers from 0 to 1.
    let internal signs (like: Tensor) (numbers: Tensor) =
        numbers.ge(0.5.ToScalar()).``to``(like.dtype) * 2.0 - 1.0

    // The sum of magnitudes, or of squares, of each channel: [n; c; pixels] -> [n; c; 1].
    let private sums norm (x: Tensor) =
        match norm with
        | L1 -> x.abs().sum(-1L, true)
        | L2
        | Linf -> x.square().sum(-1L, true)

    let private ofSum norm (sum: Tensor) =
        match norm with
        | L1 -> sum.alias ()
        | L2
        | Linf -> sum.sqrt ()

    // A vector divided by its length, which may be 0.
    let private over (lengths: Tensor) (x: Tensor) = x / (lengths + 1e-12)

    // Images [n; c; pixels] moved to the border of the ball, L2, or back into it, L1.
    let private held threat (origin: Tensor) (moved: Tensor) =
        match threat.Norm with
        | L1 ->
            // Short of the radius, so that rounding does not lead out of the ball.
            let threat = { threat with Radius = threat.Radius * (1.0 - 1e-6) }
            Projection.project threat origin (origin + moved)
        | L2
        | Linf ->
            let scale = threat.Radius / (Projection.length L2 moved + 1e-12)
            origin + moved * Shape.perSample moved scale |> boxed threat

    // The first point. Linf: columns of one sign each. L2 and L1: tiles of bumps, five along the shorter
    // side. The published code takes the height for the shorter side, and fails below five pixels and where a
    // tile crosses the border; here tiles are a pixel or more and are cut there.
    let internal start threat draw (images: Tensor) =
        let c, h, w = images.shape[1], int images.shape[2], int images.shape[3]
        let uniform purpose shape = (Rng.uniform shape (Rng.sub purpose draw)).``to``(images.device)

        match threat.Norm with
        | Linf -> images + signs images (uniform "signs" [ c; 1L; int64 w ]) * threat.Radius |> boxed threat
        | L2
        | L1 ->
            let shorter = min h w
            let side = max 1 (shorter / 5)
            let margin = max 0 ((shorter - 5 * side) / 2)
            let down, across = h / side, w / side
            let on (x: Tensor) = x.``to`` images.device

            let pixels = [|
                for i in 0 .. h - 1 do
                    for j in 0 .. w - 1 do
                        struct (i - margin, j - margin)
            |]

            let inside i j = i >= 0 && j >= 0 && i / side < down && j / side < across

            let tile =
                pixels
                |> Array.map (fun struct (i, j) ->
                    if inside i j then int64 (i / side * across + j / side) else 0L)

            let heights (bump: float[]) =
                let values =
                    pixels
                    |> Array.map (fun struct (i, j) ->
                        if inside i j then bump[i % side * side + j % side] else 0.0)
                (on (torch.tensor values)).``to``(images.dtype)

            let tiles = int64 (down * across)
            let tile = on (torch.tensor tile)
            let upright, turned = bumps threat.Norm side
            let upright, turned = heights upright, heights turned
            let turns = (uniform "turns" [ 1L; tiles ]).ge(0.5.ToScalar()).index_select(2L, tile)
            let sign = (signs images (uniform "signs" [ c; tiles ])).index_select(2L, tile)
            let origin = images.reshape ([| images.shape[0]; c; -1L |])
            held threat origin (torch.where (turns, turned, upright) * sign) |> _.reshape(images.shape)

    // Windows of one side: where their pixels are from the window's corner, int64 [side^2], and the bump's
    // two forms [2; side^2].
    [<NoEquality; NoComparison>]
    type internal Window = { Side: int; Downs: Tensor; Acrosses: Tensor; Bumps: Tensor }

    let internal create threat (images: Tensor) side =
        let on (x: Tensor) = x.``to`` images.device
        let places by = on (torch.tensor [| for i in 0 .. side * side - 1 -> int64 (by i) |])
        let upright, turned = bumps threat.Norm side

        {
            Side = side
            Downs = places (fun i -> i / side)
            Acrosses = places (fun i -> i % side)
            Bumps = on(torch.tensor (Array.append upright turned)).reshape([| 2L; -1L |]).``to``(images.dtype)
        }

    // The next images of the search. All is done in the windows' pixels, by their places in a
    // channel's row of pixels, since windows are small for most of a run.
    //
    // corners: top and left of two windows, int64 [n; 4]; turns: the bump's form, int64 [n]; sign: [n; c].
    let internal propose
        threat
        (now: Window)
        (corners: Tensor)
        (turns: Tensor)
        (sign: Tensor)
        (images: Tensor)
        (best: Tensor)
        =
        let n, c, width = images.shape[0], images.shape[1], images.shape[3]
        let flat (x: Tensor) = x.reshape ([| n; c; -1L |])
        let origin, best = flat images, flat best
        let top number = corners.narrow (1L, 2L * number, 1L)
        let left number = corners.narrow (1L, 2L * number + 1L, 1L)

        let places number =
            ((top number + now.Downs) * width + (left number + now.Acrosses)).unsqueeze(1L).expand(n, c, -1L)

        let sign = sign.unsqueeze 2L
        let own = places 0L

        let x =
            match threat.Norm with
            | Linf ->
                let pixels = origin.gather (2L, own) + sign * threat.Radius |> boxed threat
                best.scatter (2L, own, pixels)
            | (L2 | L1) as norm ->
                let other = places 1L
                let moved = best - origin
                let here, there = moved.gather (2L, own), moved.gather (2L, other)

                // Which of the other window's pixels the first one has not.
                let outside (starts: int64 -> Tensor) (offsets: Tensor) =
                    let from = starts 1L - starts 0L + offsets
                    from.lt(0L.ToScalar()).logical_or(from.ge ((int64 now.Side).ToScalar()))

                let apart = (outside top now.Downs).logical_or(outside left now.Acrosses).unsqueeze(1L)
                let inBoth = sums norm here + sums norm (there * apart.``to`` there.dtype)
                let whole = (sums norm moved).sum(1L, true)

                // What the radius still leaves, in equal parts, and what the windows give back.
                let room =
                    match norm with
                    | L1 -> (threat.Radius - whole).clamp_min(0.0.ToScalar()) + inBoth * float c
                    | L2
                    | Linf ->
                        ((threat.Radius * threat.Radius - whole).clamp_min(0.0.ToScalar()) / float c + inBoth)
                            .sqrt()

                let lengths = sums norm >> ofSum norm
                let bump = now.Bumps.index_select(0L, turns).unsqueeze(1L) * sign
                let fresh = bump + over (lengths here) here

                // Where the windows overlap, the first has the last word.
                moved
                    .scatter(2L, other, torch.zeros_like there)
                    .scatter(2L, own, over (lengths fresh) fresh * room)
                |> held threat origin

        x.reshape images.shape
