namespace AdvContrast.Core

/// A backbone that can be asked for by name.
[<NoEquality; NoComparison>]
type Architecture = {
    Name: string
    Summary: string
    /// Channels of the first stage where no width is given.
    Width: int64
    Build: int64 -> Input -> Branch list -> Network
}

/// The backbones by name.
[<RequireQualifiedAccess>]
module Zoo =

    let architectures =
        let entry name width build summary = { Name = name; Summary = summary; Width = width; Build = build }

        [
            entry "small" 16L SmallNet.create "five 3x3 convolutions of w to 4w channels"
            entry "resnet18" 64L (ResNet.resNet18 CifarStem) "ResNet-18 with the CIFAR stem, w to 8w channels"
            entry
                "resnet18-imagenet"
                64L
                (ResNet.resNet18 ImageNetStem)
                "ResNet-18 with the ImageNet stem, w to 8w channels"
        ]

    /// A backbone by name. width: channels of the first stage, 1 to 1024; None for the default.
    let find (name: string) (width: int64 option) : Result<Input -> Branch list -> Network, Error> =
        match architectures |> List.tryFind (fun a -> a.Name = name.ToLowerInvariant()), width with
        | None, _ -> Error(Error.UnknownName("network", name, architectures |> List.map _.Name))
        | _, Some w when w < 1L || w > 1024L -> Error(Error.BadOption("--width", "it must lie in 1 to 1024."))
        | Some architecture, _ -> Ok(architecture.Build(Option.defaultValue architecture.Width width))
