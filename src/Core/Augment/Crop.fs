namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core.Foundation

/// Geometric views: crop, resize and flip in one bilinear resampling.
[<RequireQualifiedAccess>]
module Crop =

    /// A crop of random area and aspect ratio, resized to the image's own size, and with probability 1/2
    /// flipped left to right. Area: uniform in [smallest, 1] of the image; log aspect ratio uniform in
    /// +-log(4/3); a side longer than the image is cut to it. Bilinear; pixels beyond the border repeat the
    /// border.
    let randomResized (smallest: float) : View =
        Named.create (sprintf "crop %g to 1, flip" smallest) (fun draw x ->
            Scope.tensor (fun () ->
                let u purpose = (View.numbers purpose draw x).reshape([| -1L |])
                let area = u "area" * (1.0 - smallest) + smallest
                let aspect = ((u "aspect" * 2.0 - 1.0) * log (4.0 / 3.0)).exp()
                let one = 1.0.ToScalar()
                let height = (area / aspect).sqrt().clamp_max one
                let width = (area * aspect).sqrt().clamp_max one
                let flip = (u "flip" - 0.5).sign()
                // In affine_grid's coordinates the image spans -1 .. 1.
                let across = (1.0 - width) * (u "x" * 2.0 - 1.0)
                let down = (1.0 - height) * (u "y" * 2.0 - 1.0)
                let zero = torch.zeros_like width

                let theta =
                    torch
                        .stack(ResizeArray [ width * flip; zero; across; zero; height; down ], 1L)
                        .view([| -1L; 2L; 3L |])

                let grid = torch.nn.functional.affine_grid (theta, x.shape, false)

                torch.nn.functional.grid_sample (
                    x,
                    grid,
                    torch.GridSampleMode.Bilinear,
                    torch.GridSamplePaddingMode.Border,
                    System.Nullable false
                )))

    /// A shift by up to `pad` pixels each way over black, and with probability 1/2 a flip: the supervised
    /// recipes' padded crop.
    let padded (pad: int64) : View =
        Named.create (sprintf "pad %d, crop, flip" pad) (fun draw x ->
            Scope.tensor (fun () ->
                let u purpose = (View.numbers purpose draw x).reshape([| -1L |])
                let shift purpose = (u purpose * float (2L * pad + 1L)).floor() - float pad
                let flip = (u "flip" - 0.5).sign()
                let zero = torch.zeros_like flip
                let across = shift "x" * (2.0 / float x.shape[3])
                let down = shift "y" * (2.0 / float x.shape[2])

                let theta =
                    torch
                        .stack(ResizeArray [ flip; zero; across; zero; torch.ones_like flip; down ], 1L)
                        .view([| -1L; 2L; 3L |])

                // Whole pixels: the nearest neighbour is the pixel itself.
                torch.nn.functional.grid_sample (
                    x,
                    torch.nn.functional.affine_grid (theta, x.shape, false),
                    torch.GridSampleMode.Nearest,
                    torch.GridSamplePaddingMode.Zeros,
                    System.Nullable false
                )))
