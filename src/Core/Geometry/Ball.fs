namespace AdvContrast.Core

open TorchSharp

/// The set an adversary may move in: images [n; ...] within a radius of their originals and within the pixel
/// box, one ball a sample. All functions work for each sample alone and take and return the images' dtype.
[<RequireQualifiedAccess>]
module Ball =

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

    // The nearest point of {|d|_1 <= radius} meet {0 <= |d_i| <= room_i} keeps signs and shrinks every
    // magnitude by one lambda: |d_i| = clip(|v_i| - lambda, 0, room_i), lambda the smallest that fits. The
    // sum is piecewise linear in lambda with kinks at |v_i| - room_i and |v_i|, so sorting the kinks finds it
    // exactly.
    let private ontoL1 radius (v: Tensor) (room: Tensor) =
        let magnitude = v.abs ()
        let kinks = torch.cat (ResizeArray [ (magnitude - room).clamp_min(0.0.ToScalar()); magnitude ], 1L)
        let struct (at, order) = kinks.sort (1L)
        // From its lower kink on, a coordinate loses one unit a unit of lambda; from its upper one it is 0.
        let steps = torch.cat (ResizeArray [ torch.ones_like magnitude; -(torch.ones_like magnitude) ], 1L)
        let slope = steps.gather(1L, order).cumsum(1L)
        let start = magnitude.minimum(room).sum(1L, true)
        let gaps = at.narrow (1L, 1L, at.shape[1] - 1L) - at.narrow (1L, 0L, at.shape[1] - 1L)
        let lost = (slope.narrow (1L, 0L, at.shape[1] - 1L) * gaps).cumsum(1L)
        let sums = torch.cat (ResizeArray [ start; start - lost ], 1L)
        // The last kink whose sum is still above the radius begins the piece on which the radius is met.
        let above = (sums.gt (radius: Scalar)).sum(1L, true).sub(1L.ToScalar()).clamp_min(0L.ToScalar())
        let excess = (sums.gather (1L, above) - radius) / slope.gather(1L, above).clamp_min(1.0.ToScalar())
        let lambda = (at.gather (1L, above) + excess).clamp_min(0.0.ToScalar())
        let fits = start.le (radius)
        let lambda = torch.where (fits, torch.zeros_like lambda, lambda)
        v.sign () * (magnitude - lambda).clamp_min(0.0.ToScalar()).minimum(room)

    /// Refuses images that do not lie in the threat's box, but for rounding: no ball about them is in it.
    let requireInBox (name: string) threat (images: Tensor) =
        match threat.Box with
        | Some(low, high) when images.numel () > 0L ->
            let least, most =
                Scope.value (fun () ->
                    let number (x: Tensor) = x.``to``(torch.float64).item<float>()
                    number (images.min ()), number (images.max ()))

            let slack = 1e-5 * (high - low)

            if not (least >= low - slack && most <= high + slack) then
                invalidArg
                    name
                    (sprintf
                        "pixels from %g to %g were expected, as the threat's box says, got %g to %g."
                        low
                        high
                        least
                        most)
        | _ -> ()

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
            | L1 ->
                // Sums over thousands of kinks need the digits.
                let centre = flat (original.``to`` torch.float64)
                let v = flat (x.``to`` torch.float64) - centre

                let room =
                    match threat.Box with
                    | Some(low, high) -> torch.where (v.gt (0.0.ToScalar()), high - centre, centre - low)
                    | None -> v.abs ()

                let moved = ontoL1 (threat.Radius.ToScalar()) v room
                (centre + moved).reshape(x.shape).``to``(x.dtype) |> boxed threat)

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
                | Linf -> on (Draw.uniform shape draw) * 2.0 - 1.0
                | L2 ->
                    let g = on (Draw.normal [ d + 2L ] draw)
                    (unit (length L2 g) g).narrow(1L, 0L, d).reshape flatShape
                | L1 ->
                    let e = (1.0 - on (Draw.uniform [ d + 1L ] draw)).log().neg()
                    let signs = (on (Draw.uniform [ d ] (Draw.sub "sign" draw)) - 0.5).sign()
                    ((unit (length L1 e) e).narrow(1L, 0L, d) * signs).reshape flatShape

            original + offset * threat.Radius)
