// The ways to convolve in bfloat16, with fixed weights and learning, beside libtorch's conv2d:
//   dotnet fsi build.fsx build
//   OMP_NUM_THREADS=2 dotnet fsi bench/convolutions.fsx
// Milliseconds for 64 images, forward and the gradient of images (learning: of the weight too); the median of 15
// looks in turn, and, in brackets, of the ratios to conv2d's in the same turn. An asterisk marks the way that is
// taken.
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Engine.dll"
#r "AdvContrast.Core.dll"

open System.Diagnostics
open AdvContrast.Core
open AdvContrast.Engine
open TorchSharp

let median (values: float list) = (List.sort values)[values.Length / 2]

let low (shape: int64 list) = torch.randn(Array.ofList shape).``to`` torch.bfloat16
let channelsLast = Network.channelsLast

// Every way that can be gone; products of whole maps only of small ones.
let ways
    (side: int64)
    (stride: int64)
    (weight: torch.Tensor)
    : (Convolving * (torch.Tensor -> torch.Tensor) option) list =
    let size = weight.shape[3]
    let isFixed, isSmall = not weight.requires_grad, side <= 8L * stride

    let direct x =
        torch.nn.functional.conv2d (x, weight, null, [| stride; stride |], [| size / 2L; size / 2L |])

    let whenever possible make = if possible then Some(make ()) else None

    [
        Convolving.Direct, Some direct
        Convolving.SideBySide, whenever (size > 1L) (fun () x -> Montage.conv2d x weight null stride)
        Convolving.OneProduct,
        whenever (size > 1L && isSmall) (fun () x -> Im2col.conv2d x weight null stride)
        Convolving.FewerProducts,
        whenever (isFixed && size = 3L && stride = 1L && isSmall) (fun () ->
            let ready = Winograd.weight weight
            fun x -> Winograd.conv2d x ready null)
        Convolving.ByPixels, whenever (size = 1L) (fun () x -> Pointwise.conv2d x weight null stride)
        Convolving.ThereAndBack,
        whenever isFixed (fun () ->
            let ready = Adjoint.weight weight stride

            fun x ->
                let back gradient = Adjoint.conv2d gradient ready size stride x.shape[2] x.shape[3]
                TorchEngine.Current.WithAdjoint(x, direct, back))
    ]

let look (images: torch.Tensor) (weight: torch.Tensor) (conv: torch.Tensor -> torch.Tensor) =
    use _ = torch.NewDisposeScope()
    let x = images.detach().requires_grad_()
    let inputs = [| x; if weight.requires_grad then weight |]
    let clock = Stopwatch.StartNew()
    let y = conv x
    torch.autograd.grad ([| y |], inputs, [| torch.ones_like y |]) |> ignore
    clock.Elapsed.TotalMilliseconds

let convolutions = [
    64L, 64L, 3L, 32L, 1L
    64L, 128L, 3L, 32L, 2L
    64L, 128L, 1L, 32L, 2L
    128L, 128L, 3L, 16L, 1L
    128L, 256L, 3L, 16L, 2L
    256L, 256L, 3L, 8L, 1L
    256L, 512L, 3L, 8L, 2L
    256L, 512L, 1L, 8L, 2L
    512L, 512L, 3L, 4L, 1L
]

printfn
    "| convolution | weights | conv2d | side by side | one product | fewer products | by pixels | there and back |"
printfn "|---|---|---:|---:|---:|---:|---:|---:|"

for c, k, size, side, stride in convolutions do
    for learning in [ false; true ] do
        use _ = torch.NewDisposeScope()
        let images = channelsLast (low [ 64L; c; side; side ])
        let weight = (channelsLast (low [ k; c; size; size ] * 0.02)).detach().requires_grad_ learning
        let ways = ways side stride weight
        let time = Option.map (look images weight)
        ways |> List.iter (snd >> time >> ignore)
        let turns = List.init 15 (fun _ -> ways |> List.map (snd >> time))
        let taken = Convolution.way images weight stride (size / 2L)

        let cells =
            (ways, List.transpose turns)
            ||> List.map2 (fun (way, _) times ->
                if List.contains None times then
                    ""
                else
                    let ratios =
                        List.map2
                            (fun turn time -> Option.get time / Option.get (List.head turn))
                            turns
                            times
                    sprintf
                        "%s%.1f (%.2f)"
                        (if way = taken then "*" else "")
                        (times |> List.map Option.get |> median)
                        (median ratios))

        printfn
            "| %d to %d, %dx%d, %dx%d%s | %s | %s |"
            c
            k
            size
            size
            side
            side
            (if stride = 1L then "" else sprintf " / %d" stride)
            (if learning then "learning" else "fixed")
            (String.concat " | " cells)
