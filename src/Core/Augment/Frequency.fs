namespace AdvContrast.Core.Augment

open System
open TorchSharp
open AdvContrast.Core.Foundation

/// Views of an image's frequencies.
[<RequireQualifiedAccess>]
module Frequency =

    // The frequencies below the radius of signals of n points, and an orthonormal real Fourier basis of them:
    // [n; frequencies], row-major.
    let private basis (radius: float) (n: int) =
        let column frequency wave =
            let plain = frequency = 0 || 2 * frequency = n
            let scale = sqrt ((if plain then 1.0 else 2.0) / float n)
            let value i = scale * wave (2.0 * Math.PI * float (frequency * i % n) / float n)
            frequency, Array.init n value

        let frequencies, columns =
            [|
                for frequency in 0 .. n / 2 do
                    if float frequency < radius then
                        column frequency cos
                        // A sine of these two is 0 at every point.
                        if frequency > 0 && 2 * frequency < n then column frequency sin
            |]
            |> Array.unzip

        frequencies, Array.concat (Array.transpose columns)

    /// The high-frequency view (Fan et al. 2021, AdvCL): each channel's Fourier transform without the
    /// frequencies (u, v), in whole turns an image, with sqrt(u^2 + v^2) below the radius (8 as published for
    /// images of 32 pixels). The mean is among what is removed, so values are of either sign: nothing is cut
    /// off to [0, 1]. Every image gets the same treatment; gradients pass.
    ///
    /// radius: above 0.
    let highPass (radius: float) : View =
        Shape.positive (nameof radius) radius

        Named.create (sprintf "frequencies from %g" radius) (fun _ x ->
            Shape.rank "n;c;h;w" (nameof x) x

            Scope.tensor (fun () ->
                let matrix (frequencies: int[]) (values: float[]) =
                    let values = torch.tensor(values).reshape([| -1L; int64 frequencies.Length |])
                    values.``to``(x.device).``to`` x.dtype

                let down, rows = basis radius (int x.shape[2])
                let across, columns = basis radius (int x.shape[3])
                let rows, columns = matrix down rows, matrix across columns

                // Sines and cosines of one frequency span the same space along both axes, so the disc of the
                // complex transform is a mask of products of real waves.
                let disc =
                    matrix down [|
                        for v in across do
                            for u in down -> if float (u * u + v * v) < radius * radius then 1.0 else 0.0
                    |]

                // Images times small matrices, as [n; c; h; w] -> [n; c; across; down] and back.
                let parts = x.matmul(columns).transpose(2L, 3L).matmul(rows) * disc
                x - parts.matmul(rows.t ()).transpose(2L, 3L).matmul(columns.t ())))
