namespace AdvContrast.Core.Attacks

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation
open AdvContrast.Core.ThreatModel

/// The nearest points of hyperplanes within the pixel box: the smallest moves of images that bring an affine
/// function to 0 (Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive
/// boundary attack", section 2.2). All functions work for each sample alone.
[<RequireQualifiedAccess>]
module Hyperplane =

    // Pixels that hardly count would be sent to the faces of the box for nothing.
    let private least = 1e-8

    // In Linf and L2 every pixel goes t times its speed (1, or its slope's size) until it meets its face. The
    // gain, the sum of min(rate t, worth), is piecewise linear, rising and concave in t, so Newton's method
    // from 0 never overshoots, and ends after finitely many steps, in practice a handful, exactly on the
    // piece where the gain is the one wanted. That spares a sort of the breakpoints.
    let private time (rate: Tensor) (worth: Tensor) (wanted: Tensor) =
        let none = torch.zeros_like (wanted.narrow (0L, 0L, 1L))
        let last = torch.full_like (wanted, 1e300.ToScalar())
        // Where all pixels together do not gain enough, every one goes to its face.
        let start = torch.where (wanted.ge (worth.sum (2L, true)), last, torch.zeros_like wanted)

        let later (t: Tensor) =
            Scope.tensor (fun () ->
                let moving = (rate * t).lt worth
                let spent = torch.where(moving, none, worth).sum(2L, true)
                let speed = torch.where(moving, rate, none).sum(2L, true)
                let next = ((wanted - spent) / speed).minimum last
                // Rounding must not bring a pixel back that has met its face.
                torch.where (next.gt t, next, t))

        let rec climb (t: Tensor) =
            let next = later t
            if Scope.value (fun () -> next.gt(t).any().item<bool>()) then climb next else t

        climb start

    // In L1 the steepest pixels go to their faces, one after another, and the last as far as is still needed.
    let private filled (steep: Tensor) (room: Tensor) (wanted: Tensor) =
        // One order serves all points: it depends on the slopes alone.
        let struct (steepest, order) = steep.sort (2L, true, true)
        let order = order.expand_as room
        let room = room.gather (2L, order)
        let gained = (steepest * room).cumsum 2L
        let before = torch.cat (ResizeArray [ torch.zeros_like wanted; gained ], 2L)
        let missing = (wanted - before.narrow (2L, 0L, room.shape[2])).clamp_min(0.0.ToScalar())
        let moved = (missing / steepest.clamp_min (least.ToScalar())).minimum room
        torch.zeros_like(room).scatter(2L, order, moved)

    /// The smallest move, in a norm, of each of m points of each image that brings the affine function with
    /// this slope and this value at the point to 0, within the box. Where the box does not let it get there,
    /// every pixel that helps goes to its face. Pixels whose slope is below 1e-8 stay.
    ///
    /// box: the range of a pixel, which holds the points; None leaves pixels unbounded. slopes: [n; ...], for
    /// all points of an image the same; points: [m; n; ...]; values: [m; n]. Result: [m; n; ...], in the
    /// points' dtype; reckoned in float64. ArgumentException where the shapes do not fit.
    let moves norm (box: (float * float) option) (slopes: Tensor) (points: Tensor) (values: Tensor) =
        let expected = points.shape

        if expected.Length < 2 || expected[1..] <> slopes.shape then
            invalidArg
                (nameof points)
                (sprintf
                    "expected shape [m; n; ...] with slopes of [n; ...], got %s and %s."
                    (Shape.text points)
                    (Shape.text slopes))

        if values.shape <> expected[..1] then
            invalidArg
                (nameof values)
                (sprintf
                    "expected shape [m; n] with points of [m; n; ...], got %s and %s."
                    (Shape.text values)
                    (Shape.text points))

        Scope.tensor (fun () ->
            let m, n = expected[0], expected[1]
            let d = Array.fold (*) 1L expected[2..]
            let wide (x: Tensor) = x.``to`` torch.float64
            let w = (wide slopes).reshape [| 1L; n; d |]
            let w = torch.where (w.abs().ge(least.ToScalar()), w, torch.zeros_like w)
            let x = (wide points).reshape [| m; n; d |]
            let value = (wide values).unsqueeze 2L
            let steep = w.abs ()
            let direction = w.sign () * value.sign().neg()

            let room =
                match box with
                | Some(low, high) ->
                    let room = torch.where (direction.gt (0.0.ToScalar()), high - x, x - low)
                    room.clamp_min (0.0.ToScalar())
                | None -> torch.full_like (x, System.Double.PositiveInfinity.ToScalar())

            let room = torch.where (steep.gt (0.0.ToScalar()), room, torch.zeros_like steep)
            let wanted = value.abs ()

            let moved =
                match norm with
                | Linf -> (time steep (steep * room) wanted).minimum room
                | L2 -> (time (steep * steep) (steep * room) wanted * steep).minimum room
                | L1 -> filled steep room wanted

            (moved * direction).reshape(expected).``to``(points.dtype))
