namespace AdvContrast.Core.Networks

open System
open System.IO
open System.Security.Cryptography
open System.Text
open AdvContrast.Engine
open FsToolkit.ErrorHandling
open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// The result of a check of a convolution kernel.
[<RequireQualifiedAccess>]
type KernelVerdict =
    /// It agrees with float64 and repeats to the bit.
    | Sound
    /// It does not; the convolution is computed as a product of matrices instead.
    | Replaced of problem: string

/// Checks of libtorch's convolution kernels on this processor. Some kernels of libtorch 2.10 are wrong for some shapes
/// on some processors (pytorch/pytorch#177227), so each case that a network meets is compared with float64, and with
/// itself, before the network is trusted.
[<RequireQualifiedAccess>]
module KernelCheck =

    // Images of the comparison.
    let private count = 4L

    // Largest allowed error, relative to the largest value. Sound kernels are below 1e-5 and 0.01.
    let private tolerance (dtype: torch.ScalarType) = if dtype = torch.bfloat16 then 0.03 else 1e-4

    let private dtypeOf (case: ConvolutionCase) =
        match case.DType with
        | "bfloat16" -> torch.bfloat16
        | "float64" -> torch.float64
        | _ -> torch.float32

    // Leaves memory full of NaN for libtorch to take again, so that a kernel shows which part of a result it does
    // not write.
    let private leaveNaN (results: Tensor list) =
        for like in results do
            let blocks = [ for _ in 1..8 -> torch.full_like (like, nan.ToScalar()) ]

            for block in blocks do
                block.Dispose()

    // The output and its gradients in images and weight for a given gradient of the output.
    let private outcomes conv (x: Tensor) (weight: Tensor) (gradient: Tensor) : Tensor list =
        use _ = torch.enable_grad ()
        let x, weight = x.detach().requires_grad_ true, weight.detach().requires_grad_ true
        leaveNaN [ x; weight ]
        let y: Tensor = conv weight x
        leaveNaN [ y.detach (); x.detach (); weight.detach () ]
        let gradient = gradient.``to`` y.dtype
        [ y.detach (); yield! torch.autograd.grad ([| y |], [| x; weight |], [| gradient |]) ]

    let private error (actual: Tensor) (expected: Tensor) =
        let scale = expected.abs().max().item<float>()
        (actual.``to`` (torch.float64) - expected).abs().max().item<float>() / max scale Double.Epsilon

    let private names = [ "output"; "gradient in the images"; "gradient in the weight" ]

    /// What is wrong with a way to convolve, weight -> images -> output, in a case; None where it agrees with float64
    /// and gives the same bits twice.
    let internal problemOf (conv: Tensor -> Tensor -> Tensor) (case: ConvolutionCase) : string option =
        Scope.value (fun () ->
            let dtype = dtypeOf case
            use generator = new torch.Generator(1UL)
            let random (shape: int64[]) = torch.randn (shape, dtype = torch.float32, generator = generator)
            let laidOut (x: Tensor) = if case.ChannelsLast then Network.channelsLast x else x
            let x = (random [| count; case.Channels; case.Height; case.Width |]).``to`` dtype |> laidOut
            let weight =
                (random [| case.Outputs; case.Channels; case.Size; case.Size |]).``to`` dtype |> laidOut
            let full (x: Tensor) = x.``to``(torch.float64).contiguous()
            let exact weight x = Convolution.direct case.Stride case.Padding weight null x
            let length = Convolution.outputLength case.Size case.Stride case.Padding
            let gradient = random [| count; case.Outputs; length case.Height; length case.Width |] |> laidOut
            let first, again = outcomes conv x weight gradient, outcomes conv x weight gradient
            let expected = outcomes exact (full x) (full weight) (full gradient)

            List.zip3 names first (List.zip again expected)
            |> List.tryPick (fun (name, a, (b, e)) ->
                match error a e with
                | off when not (off <= tolerance dtype) -> Some(sprintf "%s off by %.2g" name off)
                | _ when not (a.Equals b) -> Some(sprintf "%s differs from call to call" name)
                | _ -> None))

    /// A case in words, such as <c>"conv 3x3/2, 64 -> 128, 32x32, bfloat16, channels-last"</c>.
    let describe (case: ConvolutionCase) =
        sprintf
            "conv %dx%d/%d, padding %d, %d -> %d, %dx%d, %s, %s"
            case.Size
            case.Size
            case.Stride
            case.Padding
            case.Channels
            case.Outputs
            case.Height
            case.Width
            case.DType
            (if case.ChannelsLast then "channels-last" else "contiguous")

    // Verdicts of earlier processes on this processor, libtorch and version of the check.
    let private file =
        lazy
            (let key = sprintf "2|%s|%s" Hardware.Cpu.Name LibTorch.Version
             let hash = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes key))[..15]
             Path.Combine(UserCache.Folder, sprintf "kernels-%s.txt" hash))

    let private sound = "sound"

    // A line a case: its description and, after a tab, "sound" or the problem. Lines of another form are skipped.
    let internal load (path: string) : Map<string, KernelVerdict> =
        try
            File.ReadAllLines path
            |> Seq.choose (fun line ->
                match line.Split '\t' with
                | [| case; verdict |] when verdict = sound -> Some(case, KernelVerdict.Sound)
                | [| case; problem |] -> Some(case, KernelVerdict.Replaced problem)
                | _ -> None)
            |> Map.ofSeq
        with
        | :? IOException
        | :? UnauthorizedAccessException -> Map.empty

    // A cache that cannot be written costs a second in the next process, nothing else.
    let internal save (path: string) (verdicts: Map<string, KernelVerdict>) =
        let lines =
            verdicts
            |> Map.toSeq
            |> Seq.map (fun (case, verdict) ->
                match verdict with
                | KernelVerdict.Sound -> case + "\t" + sound
                | KernelVerdict.Replaced problem -> case + "\t" + problem)

        try
            Directory.CreateDirectory(Path.GetDirectoryName path) |> ignore
            let part = sprintf "%s.%O.part" path (Guid.NewGuid())
            File.WriteAllLines(part, lines)
            File.Move(part, path, true)
        with
        | :? IOException
        | :? UnauthorizedAccessException -> ()

    let private examine (case: ConvolutionCase) =
        match problemOf (fun weight -> Convolution.direct case.Stride case.Padding weight null) case with
        | None -> Ok KernelVerdict.Sound
        | Some problem ->
            match
                problemOf (fun weight -> Convolution.byMatrix case.Stride case.Padding weight null) case
            with
            | None -> Ok(KernelVerdict.Replaced problem)
            | Some other ->
                Error(
                    Error.Runtime(
                        sprintf
                            "libtorch computes '%s' wrongly on this processor: %s; as a product of matrices: %s. Try --precision float32, or another version of libtorch."
                            (describe case)
                            problem
                            other
                    )
                )

    let private gate = obj ()

    /// Checks the cases that are not known yet, and replaces the kernels that are wrong. Error where a case has no
    /// form that is right.
    let check (cases: ConvolutionCase list) : Result<(ConvolutionCase * KernelVerdict) list, Error> =
        lock gate (fun () ->
            let known = load file.Value

            let verdicts =
                cases
                |> List.distinct
                |> List.traverseResultM (fun case ->
                    known
                    |> Map.tryFind (describe case)
                    |> Option.map Ok
                    |> Option.defaultWith (fun () -> examine case)
                    |> Result.map (fun verdict -> case, verdict))

            verdicts
            |> Result.tee (fun verdicts ->
                for case, verdict in verdicts do
                    if verdict <> KernelVerdict.Sound then Convolution.replace case

                let all =
                    (known, verdicts)
                    ||> List.fold (fun all (case, verdict) -> Map.add (describe case) verdict all)

                if all.Count > known.Count then save file.Value all))

    /// The convolutions of a network for images of a shape [n; c; h; w] that reach libtorch's kernels on a CPU.
    /// isLow: whether it computes in bfloat16; isLast: whether its images and weights are in channels-last layout.
    let casesOf (network: Network) branch isLow isLast (shape: int64[]) =
        Convolution.casesOf (fun () ->
            Scope.value (fun () ->
                use _ = torch.no_grad ()
                let parameters, buffers = network.Init(Rng.create 0UL "kernel check" [||])
                let laidOut (x: Tensor) = if isLast then Network.channelsLast x else x
                let images = torch.zeros ([| 1L; yield! shape[1..] |], torch.float32) |> laidOut
                let call = { Call.create branch Eval with Mixed = isLow }
                network.Apply call (parameters |> Map.map (fun _ -> laidOut)) buffers images |> ignore))

    /// Checks the convolutions of networks, each with a branch of its own, before they compute on a device: on a CPU as
    /// check does, on another device nothing. The other arguments are those of casesOf.
    let ofNetworks (device: torch.Device) isLow isLast shape (networks: (Network * Branch) list) =
        if device.``type`` <> DeviceType.CPU then
            Ok()
        else
            networks
            |> List.collect (fun (network, branch) -> casesOf network branch isLow isLast shape)
            |> check
            |> Result.map ignore
