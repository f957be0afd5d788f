// The ways to convolve small maps in bfloat16, with fixed weights and learning, beside libtorch's conv2d:
//   dotnet fsi build.fsx build
//   OMP_NUM_THREADS=2 dotnet fsi bench/convolutions.fsx
// Milliseconds for 64 images, forward and the gradient of images (learning: of the weight too); the median of 15
// looks in turn, and, in brackets, of the ratios to conv2d's in the same turn.
#I "../src/Cli/bin/Release/net10.0"
#r "AdvContrast.Torch.dll"
#r "AdvContrast.Core.dll"

open System.Diagnostics
open AdvContrast.Core
open TorchSharp

let median (values: float list) = (List.sort values)[values.Length / 2]

let low (shape: int64 list) = torch.randn(Array.ofList shape).``to`` torch.bfloat16
let channelsLast = Network.channelsLast

let ways stride (weight: torch.Tensor) =
    let direct x = torch.nn.functional.conv2d (x, weight, null, [| stride; stride |], [| 1L; 1L |])
    let isFixed = not weight.requires_grad
    let ready = if isFixed then Some(Winograd.weight weight) else None

    [
        "conv2d", Some direct
        "side by side", Some(fun x -> Montage.conv2d x weight null stride)
        "one product", Some(fun x -> Im2col.conv2d x weight null stride)
        "fewer products",
        if stride = 1L then ready |> Option.map (fun w x -> Winograd.conv2d x w null) else None
    ]

let look (images: torch.Tensor) (weight: torch.Tensor) (conv: torch.Tensor -> torch.Tensor) =
    use _ = torch.NewDisposeScope()
    let x = images.detach().requires_grad_()
    let inputs = [| x; if weight.requires_grad then weight |]
    let clock = Stopwatch.StartNew()
    let y = conv x
    torch.autograd.grad ([| y |], inputs, [| torch.ones_like y |]) |> ignore
    clock.Elapsed.TotalMilliseconds

printfn "| convolution | weights | conv2d | side by side | one product | fewer products |"
printfn "|---|---|---:|---:|---:|---:|"

for c, k, side, stride in [ 512L, 512L, 4L, 1L; 256L, 512L, 8L, 2L; 256L, 256L, 8L, 1L; 128L, 128L, 16L, 1L ] do
    for learning in [ false; true ] do
        use _ = torch.NewDisposeScope()
        let images = channelsLast (low [ 64L; c; side; side ])
        let weight = (channelsLast (low [ k; c; 3L; 3L ] * 0.02)).detach().requires_grad_ learning
        let ways = ways stride weight
        let time = Option.map (look images weight)
        ways |> List.iter (snd >> time >> ignore)
        let turns = List.init 15 (fun _ -> ways |> List.map (snd >> time))

        let cells =
            List.transpose turns
            |> List.map (fun times ->
                if List.contains None times then
                    ""
                else
                    let ratios =
                        List.map2
                            (fun turn time -> Option.get time / Option.get (List.head turn))
                            turns
                            times
                    sprintf "%.1f (%.2f)" (times |> List.map Option.get |> median) (median ratios))

        printfn
            "| %d to %d, %dx%d%s | %s | %s |"
            c
            k
            side
            side
            (if stride = 1L then "" else sprintf " / %d" stride)
            (if learning then "learning" else "fixed")
            (String.concat " | " cells)
