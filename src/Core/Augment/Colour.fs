namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// Views that change colours. Grey images ([n; 1; h; w]) have no saturation or hue to change.
[<RequireQualifiedAccess>]
module Colour =

    let private factor strength purpose draw x =
        View.numbers purpose draw x * (2.0 * strength) + (1.0 - strength)

    let private brightness strength draw x = ColourOps.brightness (factor strength "brightness" draw x) x
    let private contrast strength draw x = ColourOps.contrast (factor strength "contrast" draw x) x
    let private saturation strength draw x = ColourOps.colour (factor strength "saturation" draw x) x

    // Turns the hue by a part of the circle: to the hexcone's hue, saturation and value, and back (Smith
    // 1978).
    let private turnHue (turn: Tensor) (x: Tensor) =
        let channel (c: int64) = x.narrow (1L, c, 1L)
        let r, g, b = channel 0L, channel 1L, channel 2L
        let value = x.amax ([| 1L |], true)
        let chroma = value - x.amin ([| 1L |], true)
        let safe = chroma.clamp_min (1e-12.ToScalar())

        let sector =
            torch.where (
                value.eq r,
                (g - b) / safe,
                torch.where (value.eq g, (b - r) / safe + 2.0, (r - g) / safe + 4.0)
            )

        let hue = sector + turn * 6.0

        // Each channel is the value less the chroma times a trapezium of the hue.
        let channelAt (offset: float) =
            let k = (hue + offset).remainder(6.0.ToScalar())
            let edge = torch.minimum (k, 4.0 - k)
            value - chroma * edge.clamp (0.0.ToScalar(), 1.0.ToScalar())

        torch.cat (ResizeArray [ channelAt 5.0; channelAt 3.0; channelAt 1.0 ], 1L)

    let private hue strength draw (x: Tensor) =
        if x.shape[1] = 1L then
            x.alias ()
        else
            turnHue ((View.numbers "hue" draw x * 2.0 - 1.0) * strength) x

    /// Brightness, contrast and saturation by factors uniform in 1 +- their strength, hue by a turn uniform
    /// in +- its strength (of the full circle), one after the other in an order that is drawn anew for each
    /// step.
    let jitter (brightnessBy: float) (contrastBy: float) (saturationBy: float) (hueBy: float) : View =
        let changes = [| brightness brightnessBy; contrast contrastBy; saturation saturationBy; hue hueBy |]

        Named.create
            (sprintf "jitter %g, %g, %g, %g" brightnessBy contrastBy saturationBy hueBy)
            (fun draw x ->
                Scope.tensor (fun () ->
                    Rng.permutation changes.Length (Rng.sub "order" draw)
                    |> Array.fold (fun (x: Tensor) at -> changes[at] draw x) (x.alias ())))

    /// Grey, on as many channels as the image has.
    let grey: View =
        Named.create "grey" (fun _ x -> Scope.tensor (fun () -> (ColourOps.luma x).expand_as(x).contiguous()))

    /// The negative of every pixel at or above a threshold (0.5 in Grill et al. 2020, appendix B).
    let solarise (threshold: float) : View =
        Named.create (sprintf "solarise at %g" threshold) (fun _ x ->
            Scope.tensor (fun () -> torch.where (x.lt (threshold.ToScalar()), x, 1.0 - x)))
