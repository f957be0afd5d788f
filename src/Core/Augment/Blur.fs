namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

[<RequireQualifiedAccess>]
module Blur =

    /// Gaussian blur (Chen et al. 2020, appendix A): a standard deviation uniform in [0.1, 2.0] pixels for
    /// each sample, a window of about a tenth of the image's side (at least 3, odd), reflected at the border.
    let gaussian: View =
        Named.create "Gaussian blur" (fun draw x ->
            Scope.tensor (fun () ->
                let n, c, h, w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
                let half = max 1L (min h w / 20L)
                let size = 2L * half + 1L
                let deviation = (View.numbers "deviation" draw x).view([| n; 1L |]) * 1.9 + 0.1
                let offsets =
                    torch.arange (size.ToScalar(), dtype = x.dtype, device = x.device) - float half
                let bell = (-(offsets / deviation).square() * 0.5).exp()
                let bell = bell / bell.sum (1L, true)
                // One group a sample and channel: every image has its own kernel.
                let kernel = bell.unsqueeze(1L).repeat([| 1L; c; 1L |]).view([| n * c; 1L; size |])
                let border = [| half; half; half; half |]
                let padded = torch.nn.functional.pad (x, border, PaddingModes.Reflect)
                let padded = padded.reshape ([| 1L; n * c; h + 2L * half; w + 2L * half |])
                let along (input: Tensor) (weight: Tensor) =
                    torch.nn.functional.conv2d (input, weight, null, null, null, null, n * c)

                along (along padded (kernel.unsqueeze 2L)) (kernel.unsqueeze 3L)
                |> fun blurred -> blurred.view([| n; c; h; w |]).clamp(0.0.ToScalar(), 1.0.ToScalar())))
