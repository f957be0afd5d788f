namespace AdvContrast.Core.Augment

open System
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Affine changes of place by given magnitudes, one a sample. Images are [n; c; h; w]; each pixel becomes the
/// nearest one at the place that it is taken from (as in the policies' published code), or, where that lies
/// outside of the image, the fill value. Magnitudes hold n numbers.
[<RequireQualifiedAccess>]
module AffineOps =

    // Half a pixel is as near to one neighbour as to the other, and rounding would decide; moved by this part
    // of a pixel, which no magnitude of a policy makes up for, such places belong to the right and the lower
    // neighbour on every machine.
    let private nudge = 0.00073

    // The place that a pixel at (u, v) is taken from is (first . (u, v, 1), second . (u, v, 1)), in the
    // coordinates of affine_grid, where the image spans -1 .. 1.
    let private resample (fill: float) (x: Tensor) (first: Tensor list) (second: Tensor list) =
        let h, w = x.shape[2], x.shape[3]
        let nudges = torch.tensor ([| 0.0; 0.0; 2.0 * nudge / float w; 0.0; 0.0; 2.0 * nudge / float h |])

        let theta =
            torch.cat(ResizeArray(first @ second), 1L).view([| -1L; 6L |])
            + nudges.``to``(x.device).``to`` x.dtype

        let grid = torch.nn.functional.affine_grid (theta.view [| -1L; 2L; 3L |], x.shape, false)

        let taken =
            torch.nn.functional.grid_sample (
                x,
                grid,
                torch.GridSampleMode.Nearest,
                torch.GridSamplePaddingMode.Border,
                Nullable false
            )

        let inside = grid.abs().amax([| 3L |]).le(1.0.ToScalar()).unsqueeze 1L
        torch.where (inside, taken, torch.full_like (taken, fill.ToScalar()))

    // Zero and one to stand beside a sample's numbers.
    let private constants (like: Tensor) = torch.zeros_like like, torch.ones_like like

    let private sides (x: Tensor) = float x.shape[2], float x.shape[3]

    /// Moves each image to the right by its number of pixels, or to the left where that is negative.
    let translateX (fill: float) (pixels: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let pixels = View.spread (nameof pixels) pixels x
            let zero, one = constants pixels
            let _, w = sides x
            resample fill x [ one; zero; pixels * (-2.0 / w) ] [ zero; one; zero ])

    /// Moves each image down by its number of pixels, or up where that is negative.
    let translateY (fill: float) (pixels: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let pixels = View.spread (nameof pixels) pixels x
            let zero, one = constants pixels
            let h, _ = sides x
            resample fill x [ one; zero; zero ] [ zero; one; pixels * (-2.0 / h) ])

    /// Shears each image along its rows: what is y pixels below the upper edge moves factor * y pixels to the
    /// right.
    let shearX (fill: float) (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let factors = View.spread (nameof factors) factors x
            let zero, one = constants factors
            let h, w = sides x
            let slope = factors * (-h / w)
            resample fill x [ one; slope; slope ] [ zero; one; zero ])

    /// Shears each image along its columns: what is x pixels from the left edge moves factor * x pixels down.
    let shearY (fill: float) (factors: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let factors = View.spread (nameof factors) factors x
            let zero, one = constants factors
            let h, w = sides x
            let slope = factors * (-w / h)
            resample fill x [ one; zero; zero ] [ slope; one; slope ])

    /// Turns each image about its middle by its number of degrees, counter-clockwise.
    let rotate (fill: float) (degrees: Tensor) (x: Tensor) =
        Scope.tensor (fun () ->
            let angle = View.spread (nameof degrees) degrees x * (Math.PI / 180.0)
            let zero, _ = constants angle
            let h, w = sides x
            let sine, cosine = angle.sin (), angle.cos ()
            resample fill x [ cosine; sine * (-h / w); zero ] [ sine * (w / h); cosine; zero ])
