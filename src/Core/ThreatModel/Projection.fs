namespace AdvContrast.Core.ThreatModel

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The set an adversary may move in: images [n; ...] within a radius of their originals and within the pixel
/// box, one ball a sample. All functions work for each sample alone and take and return the images' dtype.
[<RequireQualifiedAccess>]
module Projection =

    let private flat (x: Tensor) = x.reshape ([| x.shape[0]; -1L |])

    // Clipped to the box, where there is one.
    let internal boxed threat (x: Tensor) =
        match threat.Box with
        | Some(low, high) -> x.clamp (low.ToScalar(), high.ToScalar())
        | None -> x.alias ()

    // A norm that is 0 would divide to NaN; the guard leaves the zero vector where it is.
    let private unit (lengths: Tensor) (x: Tensor) =
        x / Shape.perSample x (lengths.clamp_min (1e-12.ToScalar()))

    /// The length of each sample of d in a norm: [n; ...] -> [n].
    let length norm (d: Tensor) =
        Scope.tensor (fun () ->
            match norm with
            | Linf -> (flat d).abs().amax([| 1L |])
            | L2 -> (flat d).square().sum(1L).sqrt()
            | L1 -> (flat d).abs().sum(1L))

    /// How far each image has moved from its original: [n; ...] twice -> [n].
    let distance norm (original: Tensor) (x: Tensor) =
        Shape.same (nameof x) x (nameof original) original
        Scope.tensor (fun () -> length norm (x - original))

    // The numbers of a tensor in double precision, whatever its type and device.
    let private numbers (x: Tensor) : float[] =
        Scope.value (fun () ->
            if x.dtype = torch.float32 then
                x.cpu().contiguous().data<float32>().ToArray() |> Array.map float
            else
                x.``to``(torch.float64).cpu().contiguous().data<float>().ToArray())

    // What one image's moves must lose in L1: of moves whose magnitudes are given, each held to its room, the
    // smallest lambda for which clip(magnitude - lambda, 0, room) add up to no more than the radius. The sum
    // falls with lambda and is linear between kinks at magnitude - room and magnitude, so that Newton's
    // method ends exactly on the piece where the radius is met. It has bends of both senses, and a step may
    // go astray; a bracket holds it, and is halved where a step leaves it.
    let private excessOf (radius: float) (magnitude: float[]) (room: float[]) =
        let mutable low, high, lambda, number, goesOn = 0.0, 0.0, 0.0, 0, true

        for size in magnitude do
            high <- max high size

        while goesOn do
            let mutable sum, moving = 0.0, 0

            for i in 0 .. magnitude.Length - 1 do
                let left = magnitude[i] - lambda

                if left > 0.0 then
                    if left < room[i] then
                        sum <- sum + left
                        moving <- moving + 1
                    else
                        sum <- sum + room[i]

            let excess = sum - radius
            if excess > 0.0 then low <- lambda else high <- lambda
            let newton = lambda + excess / float moving
            let inside = newton >= low && newton <= high
            // Every fourth step halves, so that no bracket lasts.
            let next = if inside && number % 4 < 3 then newton else 0.5 * (low + high)
            let fits = lambda = 0.0 && excess <= 0.0
            goesOn <- not fits && next <> lambda && abs excess > 1e-12 * radius && number < 200

            if goesOn then
                lambda <- next
                number <- number + 1

        lambda

    // The nearest point of {|d|_1 <= radius} meet the box keeps the signs of all moves d and shrinks their
    // magnitudes by one lambda. In plain loops, image by image: a sort takes six times as long.
    let private ontoL1 threat (original: Tensor) (x: Tensor) =
        let n = int x.shape[0]
        let d = int (x.numel ()) / max 1 n
        let centre, result = numbers original, numbers x
        let magnitude, room = Array.zeroCreate d, Array.zeroCreate d
        let low, high = Option.defaultValue (-infinity, infinity) threat.Box

        for row in 0 .. n - 1 do
            let start = row * d

            for i in 0 .. d - 1 do
                let move = result[start + i] - centre[start + i]
                magnitude[i] <- abs move
                room[i] <- if move > 0.0 then high - centre[start + i] else centre[start + i] - low

            let lambda = excessOf threat.Radius magnitude room

            for i in 0 .. d - 1 do
                let length = min room[i] (max 0.0 (magnitude[i] - lambda))
                let move = if result[start + i] > centre[start + i] then length else -length
                result[start + i] <- centre[start + i] + move

        let result: Tensor =
            if x.dtype = torch.float32 then
                torch.tensor (result |> Array.map float32)
            else
                torch.tensor result

        result.reshape(x.shape).``to``(x.dtype).``to``(x.device)

    // What images outside of a box seem to be.
    let private seeming low high (least: float) (most: float) =
        if (low, high) = (0.0, 1.0) && least >= 0.0 && most <= 255.0 then
            " They look like values from 0 to 255: divide them by 255."
        elif (low, high) = (0.0, 1.0) && least < 0.0 && most < 20.0 then
            " They look normalised: give pixels from 0 to 1, and let the classifier normalise them."
        else
            ""

    /// Refuses images that an attack cannot work on: of another type than float32 and float64, whose rounding
    /// would lead out of the ball, with values that are not finite, or outside of the threat's box, but for
    /// rounding. ArgumentException.
    let requireInBox (name: string) threat (images: Tensor) =
        if images.dtype <> torch.float32 && images.dtype <> torch.float64 then
            invalidArg
                name
                (sprintf
                    "images in float32 or float64 were expected, got %O; convert them, and let the classifier convert them back if it wants another type."
                    images.dtype)

        if images.numel () > 0L then
            let least, most = TensorStats.smallest images, TensorStats.largest images

            if not (System.Double.IsFinite least && System.Double.IsFinite most) then
                let count =
                    Scope.value (fun () ->
                        let finite = (flat images).isfinite().all(1L)
                        finite.logical_not().sum(System.Nullable torch.int64).item<int64>())

                invalidArg
                    name
                    (sprintf "the values of %d of %d image(s) are NaN or infinite." count images.shape[0])

            match threat.Box with
            | Some(low, high) ->
                let slack = 1e-5 * (high - low)

                if not (least >= low - slack && most <= high + slack) then
                    invalidArg
                        name
                        (sprintf
                            "pixels from %g to %g were expected, as the threat's box says, got %g to %g.%s"
                            low
                            high
                            least
                            most
                            (seeming low high least most))
            | None -> ()

    /// What a reader of a figure must know of a threat and of images whose pixels go from least to most: that
    /// nothing may change, or that the pixels seem to be in other units than the box.
    let notes threat (least: float, most: float) : Set<string> =
        Set [
            if threat.Radius = 0.0 then "radius 0: the images stay as they are"

            match threat.Box with
            | Some(low, high) when most > least ->
                let ofBox = sprintf "pixels from %g to %g in a box from %g to %g" least most low high

                if most - low <= 0.01 * (high - low) then
                    ofBox + ": were they divided by 255 twice, or is the box in other units?"
                elif low < 0.0 && least >= 0.0 then
                    ofBox + ": are they in the box's units?"
            | None when least < -0.5 ->
                sprintf "pixels from %g to %g look normalised: the radius is in their units" least most
            | _ -> ()
        ]

    /// Brings x back to where the threat allows, about the original images. Linf and L1: the exact Euclidean
    /// projection on ball and box together; L2: rescaled to the ball, then clipped to the box, which stays in
    /// the ball because the original is in the box. Idempotent.
    let project threat (original: Tensor) (x: Tensor) =
        Shape.same (nameof x) x (nameof original) original

        Scope.tensor (fun () ->
            match threat.Norm with
            | Linf ->
                let radius = threat.Radius.ToScalar()
                x.maximum(original.sub radius).minimum(original.add radius) |> boxed threat
            | L2 ->
                let moved = x - original
                let shrink =
                    (threat.Radius / (length L2 moved).clamp_min(1e-12.ToScalar())).clamp_max(1.0.ToScalar())
                original + moved * Shape.perSample moved shrink |> boxed threat
            | L1 -> ontoL1 threat original x |> boxed threat)

    /// The direction of length 1 in the threat's norm along which the gradient's linear model rises most:
    /// its sign (Linf), itself over its length (L2), the largest coordinate alone (L1).
    let steepest norm (gradient: Tensor) =
        Scope.tensor (fun () ->
            match norm with
            | Linf -> gradient.sign ()
            | L2 -> unit (length L2 gradient) gradient
            | L1 ->
                let g = flat gradient
                let largest = g.abs().argmax(1L, true)
                let one = torch.zeros_like(g).scatter(1L, largest, g.sign().gather(1L, largest))
                one.reshape gradient.shape)

    /// A point drawn uniformly from the ball around each original, before any clipping to the box: Linf a
    /// cube; L2 and L1 by the first d of d + 2 normal, d + 1 exponential coordinates of unit length (Voelker
    /// et al. 2017; Barthe et al. 2005).
    let randomStart threat draw (original: Tensor) =
        Scope.tensor (fun () ->
            let shape = List.ofArray original.shape[1..]
            let d = List.fold (*) 1L shape
            let on (x: Tensor) = x.``to``(original.device).``to``(original.dtype)
            let flatShape = original.shape

            let offset =
                match threat.Norm with
                | Linf -> on (Rng.uniform shape draw) * 2.0 - 1.0
                | L2 ->
                    let g = on (Rng.normal [ d + 2L ] draw)
                    (unit (length L2 g) g).narrow(1L, 0L, d).reshape flatShape
                | L1 ->
                    let e = (1.0 - on (Rng.uniform [ d + 1L ] draw)).log().neg()
                    let signs = (on (Rng.uniform [ d ] (Rng.sub "sign" draw)) - 0.5).sign()
                    ((unit (length L1 e) e).narrow(1L, 0L, d) * signs).reshape flatShape

            original + offset * threat.Radius)
