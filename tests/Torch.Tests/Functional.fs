module Functional

open System
open Expecto
open TorchSharp
open Values

type private F = torch.nn.functional

let private image () = torch.arange(0.0, 16.0, dtype = torch.float64).view(1L, 1L, 4L, 4L)

/// A convolution by four nested loops.
let private slowConvolution (x: torch.Tensor) (w: torch.Tensor) padding stride =
    let at (t: torch.Tensor) i j =
        if i < 0L || j < 0L || i >= t.shape[2] || j >= t.shape[3] then
            0.0
        else
            t[0L, 0L, i, j].item<float>()

    let count length kernel = (length + 2L * padding - kernel) / stride + 1L

    [
        for i in 0L .. count x.shape[2] w.shape[2] - 1L do
            for j in 0L .. count x.shape[3] w.shape[3] - 1L do
                List.sum [
                    for a in 0L .. w.shape[2] - 1L do
                        for b in 0L .. w.shape[3] - 1L do
                            at w a b * at x (i * stride - padding + a) (j * stride - padding + b)
                ]
    ]

let tests =
    testList "Functional" [
        for padding, stride in [ 0L, 1L; 1L, 1L; 1L, 2L ] do
            inScope $"conv2d with padding {padding} and stride {stride} is four nested loops" (fun () ->
                let x, w =
                    (image ()).sin(), torch.arange(1.0, 10.0, dtype = torch.float64).view(1L, 1L, 3L, 3L)
                let found = F.conv2d (x, w, strides = [| stride; stride |], padding = [| padding; padding |])
                near found (slowConvolution x w padding stride) "values")

        inScope "linear" (fun () ->
            let found =
                F.linear (
                    matrix [ [ 1.0; 2.0 ] ],
                    matrix [ [ 1.0; 1.0 ]; [ 0.0; 2.0 ] ],
                    vector [ 0.5; 0.0 ]
                )
            near found [ 3.5; 4.0 ] "xW' + b")

        inScope "pools" (fun () ->
            near (F.max_pool2d (image (), 2L)) [ 5.0; 7.0; 13.0; 15.0 ] "max"
            near (F.avg_pool2d (image (), 2L)) [ 2.5; 4.5; 10.5; 12.5 ] "mean"
            near
                (F.max_pool2d (image (), [| 2L; 2L |], [| 1L; 2L |]))
                [ 5.0; 7.0; 9.0; 11.0; 13.0; 15.0 ]
                "strides"
            near (F.adaptive_avg_pool2d (image (), 1L)) [ 7.5 ] "to one")

        inScope "batch_norm in training and in evaluation" (fun () ->
            let x = matrix [ [ 1.0 ]; [ 3.0 ] ]
            let mean, var = torch.zeros (1, dtype = torch.float64), torch.ones (1, dtype = torch.float64)
            let trained = F.batch_norm (x, mean, var, training = true, momentum = 0.5, eps = 0.0)
            near trained [ -1.0; 1.0 ] "by the batch"
            near mean [ 1.0 ] "the mean moves"
            near var [ 1.5 ] "the unbiased variance moves"
            near (F.batch_norm (x, mean, var, eps = 0.0)) [ 0.0; 2.0 / sqrt 1.5 ] "by what was gathered"
            near mean [ 1.0 ] "which stays")

        inScope "classification losses" (fun () ->
            let logits, labels = matrix [ [ 0.0; log 3.0 ]; [ 0.0; 0.0 ] ], torch.tensor [| 1L; 0L |]
            near (F.cross_entropy (logits, labels)) [ (log 2.0 - log 0.75) / 2.0 ] "mean"
            near
                (F.cross_entropy (logits, labels, reduction = torch.nn.Reduction.None))
                [ -log 0.75; log 2.0 ]
                "each"
            near
                (F.cross_entropy (logits, labels, reduction = torch.nn.Reduction.Sum))
                [ log 2.0 - log 0.75 ]
                "sum"

            near
                (F.cross_entropy (logits, labels, label_smoothing = 1.0))
                [ (-(log 0.25 + log 0.75) / 2.0 + log 2.0) / 2.0 ]
                "smoothed"

            near (F.nll_loss (logits.log_softmax (1L), labels)) [ (log 2.0 - log 0.75) / 2.0 ] "nll_loss")

        inScope "kl_div takes logarithms unless told" (fun () ->
            let p, q = vector [ 0.25; 0.75 ], vector [ 0.5; 0.5 ]
            let expected = [ 0.5 * log 2.0 + 0.5 * log (0.5 / 0.75) ]
            near (F.kl_div (p.log (), q.log (), reduction = torch.nn.Reduction.Sum)) expected "logarithms"
            near (F.kl_div (p.log (), q, false, torch.nn.Reduction.Sum)) expected "probabilities")

        inScope "directions" (fun () ->
            near (F.normalize (matrix [ [ 3.0; 4.0 ]; [ 0.0; 0.0 ] ])) [ 0.6; 0.8; 0.0; 0.0 ] "normalize"
            near
                (F.cosine_similarity (matrix [ [ 1.0; 0.0 ] ], matrix [ [ 1.0; 1.0 ] ]))
                [ sqrt 0.5 ]
                "cosine")

        inScope "one_hot" (fun () ->
            near (F.one_hot (torch.tensor [| 1L; 0L |], 3L)) [ 0.0; 1.0; 0.0; 1.0; 0.0; 0.0 ] "classes")

        inScope "pads" (fun () ->
            let x = (vector [ 1.0; 2.0; 3.0 ]).view(1L, 1L, 3L)
            near (F.pad (x, struct (1L, 1L), value = 9.0)) [ 9.0; 1.0; 2.0; 3.0; 9.0 ] "constant"
            near (F.pad (x, struct (1L, 1L), PaddingModes.Reflect)) [ 2.0; 1.0; 2.0; 3.0; 2.0 ] "reflect"
            near (F.pad (x, struct (1L, 1L), PaddingModes.Replicate)) [ 1.0; 1.0; 2.0; 3.0; 3.0 ] "replicate"
            near (F.pad (x, struct (1L, 1L), PaddingModes.Circular)) [ 3.0; 1.0; 2.0; 3.0; 1.0 ] "circular")

        inScope "grids" (fun () ->
            let flip = (matrix [ [ -1.0; 0.0; 0.0 ]; [ 0.0; 1.0; 0.0 ] ]).unsqueeze(0L)
            let grid = F.affine_grid (flip, [| 1L; 1L; 4L; 4L |], false)
            let found = F.grid_sample (image (), grid, align_corners = Nullable false)
            near found (numbers ((image ()).flip(3L))) "a flip"
            let out = (matrix [ [ 1.0; 0.0; 2.0 ]; [ 0.0; 1.0; 0.0 ] ]).unsqueeze(0L)
            let beyond = F.affine_grid (out, [| 1L; 1L; 1L; 1L |])
            let edge mode = F.grid_sample (image (), beyond, torch.GridSampleMode.Nearest, mode)
            near (edge torch.GridSamplePaddingMode.Zeros) [ 0.0 ] "zeros outside"
            Expect.isTrue
                (List.contains (number (edge torch.GridSamplePaddingMode.Border)) [ 7.0; 11.0 ])
                "the border")

        inScope "interpolate" (fun () ->
            let size = [| 2L; 2L |]
            near (F.interpolate (image (), size)) [ 0.0; 2.0; 8.0; 10.0 ] "nearest"
            near
                (F.interpolate (image (), size, mode = torch.InterpolationMode.Bilinear))
                [ 2.5; 4.5; 10.5; 12.5 ]
                "bilinear"
            near
                (F.interpolate (image (), size, mode = torch.InterpolationMode.Area))
                [ 2.5; 4.5; 10.5; 12.5 ]
                "area"
            Expect.equal
                (shape (F.interpolate (image (), scale_factor = [| 2.0 |])))
                [ 1L; 1L; 8L; 8L ]
                "by a factor")
    ]
