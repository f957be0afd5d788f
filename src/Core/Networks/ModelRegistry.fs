namespace AdvContrast.Core.Networks

open AdvContrast.Core.Foundation
open AdvContrast.Core.Data

/// A backbone that can be asked for by name.
[<NoEquality; NoComparison>]
type Architecture = {
    Name: string
    Summary: string
    /// Channels of the first stage where no width is given.
    Width: int64
    /// The parameter whose first size is the width, so that a file of weights tells it.
    Gauge: string
    Build: int64 -> ImageInfo -> Branch list -> Network
}

/// The backbones by name.
[<RequireQualifiedAccess>]
module ModelRegistry =

    let architectures =
        let entry name width gauge build summary = {
            Name = name
            Summary = summary
            Width = width
            Gauge = gauge
            Build = build
        }

        let residual (name: string) build layers widths =
            let of' suffix stem title =
                let summary = sprintf "ResNet-%s with the %s stem, %s channels" layers title widths
                entry (name + suffix) 64L "conv1.weight" (build stem) summary

            [
                of' "" CifarStem "CIFAR"
                of' "-pad2" WidePaddingStem "CIFAR (padding 2, as solo-learn has it)"
                of' "-imagenet" ImageNetStem "ImageNet"
            ]

        let wide depth =
            let summary = sprintf "WideResNet-%d, w to 4w channels; w is 16 times the widening factor" depth

            entry
                (sprintf "wrn-%d-10" depth)
                160L
                "block1.layer.0.conv1.weight"
                (WideResNet.create depth)
                summary

        [
            entry "small" 16L "conv1.weight" SmallNet.create "five 3x3 convolutions of w to 4w channels"
            yield! residual "resnet18" ResNet.resNet18 "18" "w to 8w"
            yield! residual "resnet34" ResNet.resNet34 "34" "w to 8w"
            yield! residual "resnet50" ResNet.resNet50 "50" "4w to 32w"
            entry
                "preactresnet18"
                64L
                "conv1.weight"
                PreActResNet.preActResNet18
                "PreActResNet-18 with the CIFAR stem, w to 8w channels, batch norm before each convolution"
            wide 28
            wide 34
        ]

    /// A backbone of the list by name, whatever its case.
    let named (name: string) : Result<Architecture, Error> =
        match architectures |> List.tryFind (fun a -> a.Name = name.ToLowerInvariant()) with
        | Some architecture -> Ok architecture
        | None -> Error(Error.UnknownName("network", name, architectures |> List.map _.Name))

    /// A backbone by name. width: channels of the first stage, 1 to 1024; None for the default.
    let find (name: string) (width: int64 option) : Result<ImageInfo -> Branch list -> Network, Error> =
        match named name, width with
        | Error e, _ -> Error e
        | _, Some w when w < 1L || w > 1024L -> Error(Error.BadOption("--width", "it must lie in 1 to 1024."))
        | Ok architecture, _ -> Ok(architecture.Build(Option.defaultValue architecture.Width width))
