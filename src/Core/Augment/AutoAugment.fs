namespace AdvContrast.Core.Augment

open TorchSharp
open AdvContrast.Core
open AdvContrast.Core.Foundation

/// An operation of the policies on an image. The magnitude that goes with it: a factor (shears, brightness, contrast,
/// colour, sharpness), pixels (translations), degrees (rotation), bits kept (posterise), a threshold
/// (solarise), nothing (the others).
[<RequireQualifiedAccess>]
type Operation =
    | Identity
    | ShearX
    | ShearY
    | TranslateX
    | TranslateY
    | Rotate
    | Brightness
    | Contrast
    | Colour
    | Sharpness
    | Posterise
    | Solarise
    | AutoContrast
    | Equalise
    | Invert

/// An operation at a magnitude, for one image.
type Change = { Operation: Operation; Magnitude: float }

/// Published policies of augmentation: operations and magnitudes drawn for each image.
[<RequireQualifiedAccess>]
module AutoAugment =

    let private nothing = { Operation = Operation.Identity; Magnitude = 0.0 }

    let private run fill operation (magnitudes: Tensor) (x: Tensor) =
        match operation with
        | Operation.Identity -> x.alias ()
        | Operation.ShearX -> AffineOps.shearX fill magnitudes x
        | Operation.ShearY -> AffineOps.shearY fill magnitudes x
        | Operation.TranslateX -> AffineOps.translateX fill magnitudes x
        | Operation.TranslateY -> AffineOps.translateY fill magnitudes x
        | Operation.Rotate -> AffineOps.rotate fill magnitudes x
        | Operation.Brightness -> ColourOps.brightness magnitudes x
        | Operation.Contrast -> ColourOps.contrast magnitudes x
        | Operation.Colour -> ColourOps.colour magnitudes x
        | Operation.Sharpness -> ColourOps.sharpness magnitudes x
        | Operation.Posterise -> ColourOps.posterise magnitudes x
        | Operation.Solarise -> ColourOps.solarise magnitudes x
        | Operation.AutoContrast -> ColourOps.autoContrast x
        | Operation.Equalise -> ColourOps.equalise x
        | Operation.Invert -> ColourOps.invert x

    /// Makes one change to each image; an operation is computed for the images that it is meant for alone.
    ///
    /// fill: the value of pixels from outside of an image; changes: n; x: [n; c; h; w] in [0, 1], as the
    /// result.
    let apply (fill: float) (changes: Change[]) (x: Tensor) =
        Shape.rank "n;c;h;w" (nameof x) x

        if int64 changes.Length <> x.shape[0] then
            invalidArg
                (nameof changes)
                (sprintf "expected one change for each of the %d images, got %d." x.shape[0] changes.Length)

        // The images that change, those of one operation beside each other.
        let rows =
            Array.indexed changes
            |> Array.filter (fun (_, change) -> change.Operation <> Operation.Identity)
            |> Array.sortBy (fun (row, change) -> change.Operation, row)

        if Array.isEmpty rows then
            x.alias ()
        else
            Scope.tensor (fun () ->
                let order = torch.tensor(rows |> Array.map (fst >> int64)).``to`` x.device
                let magnitudes = torch.tensor (rows |> Array.map (fun (_, change) -> change.Magnitude))
                let magnitudes = magnitudes.``to``(x.device).``to`` x.dtype
                let selected = x.index_select (0L, order)
                let runs = rows |> Array.countBy (fun (_, change) -> change.Operation)
                let starts = runs |> Array.scan (fun start (_, count) -> start + count) 0

                let changed = [|
                    for start, (operation, count) in Seq.zip starts runs do
                        let part (t: Tensor) = t.narrow (0L, int64 start, int64 count)
                        run fill operation (part magnitudes) (part selected)
                |]

                x.index_copy (0L, order, torch.cat (changed, 0L)))

    // How strong operations are at the highest of some levels; at the lowest they do nothing.
    type private Space = {
        Levels: int
        Shear: float
        /// In pixels, by the side of the image.
        Translation: float -> float
        Degrees: float
        /// How far factors of brightness and the like lie from 1.
        Factor: float
        Bits: float
    }

    let private atLevel space (height: int64) (width: int64) operation level positive = {
        Operation = operation
        Magnitude =
            let part = float level / float (space.Levels - 1)
            let signed most = (if positive then 1.0 else -1.0) * most * part

            match operation with
            | Operation.ShearX
            | Operation.ShearY -> signed space.Shear
            | Operation.TranslateX -> signed (space.Translation(float width))
            | Operation.TranslateY -> signed (space.Translation(float height))
            | Operation.Rotate -> signed space.Degrees
            | Operation.Brightness
            | Operation.Contrast
            | Operation.Colour
            | Operation.Sharpness -> 1.0 + signed space.Factor
            | Operation.Posterise -> round (8.0 - (8.0 - space.Bits) * part)
            // Of 256 levels the first that changes falls from 256, which no pixel reaches, to 0. Half a level
            // below it no rounding of pixels matters.
            | Operation.Solarise -> (ceil (256.0 * (1.0 - part)) - 0.5) / 255.0
            | Operation.AutoContrast
            | Operation.Equalise
            | Operation.Invert
            | Operation.Identity -> 0.0
    }

    let private pick (options: 'a[]) (u: float) = options[int (u * float options.Length)]

    // Cubuk et al. 2019, appendix, the policy found on reduced CIFAR-10: operation, probability and level (of
    // 0 .. 9), then a second time.
    let private cifar10 = [|
        (Operation.Invert, 0.1, 7), (Operation.Contrast, 0.2, 6)
        (Operation.Rotate, 0.7, 2), (Operation.TranslateX, 0.3, 9)
        (Operation.Sharpness, 0.8, 1), (Operation.Sharpness, 0.9, 3)
        (Operation.ShearY, 0.5, 8), (Operation.TranslateY, 0.7, 9)
        (Operation.AutoContrast, 0.5, 8), (Operation.Equalise, 0.9, 2)
        (Operation.ShearY, 0.2, 7), (Operation.Posterise, 0.3, 7)
        (Operation.Colour, 0.4, 3), (Operation.Brightness, 0.6, 7)
        (Operation.Sharpness, 0.3, 9), (Operation.Brightness, 0.7, 9)
        (Operation.Equalise, 0.6, 5), (Operation.Equalise, 0.5, 1)
        (Operation.Contrast, 0.6, 7), (Operation.Sharpness, 0.6, 5)
        (Operation.Colour, 0.7, 7), (Operation.TranslateX, 0.5, 8)
        (Operation.Equalise, 0.3, 7), (Operation.AutoContrast, 0.4, 8)
        (Operation.TranslateY, 0.4, 3), (Operation.Sharpness, 0.2, 6)
        (Operation.Brightness, 0.9, 6), (Operation.Colour, 0.2, 8)
        (Operation.Solarise, 0.5, 2), (Operation.Invert, 0.0, 3)
        (Operation.Equalise, 0.2, 0), (Operation.AutoContrast, 0.6, 0)
        (Operation.Equalise, 0.2, 8), (Operation.Equalise, 0.6, 4)
        (Operation.Colour, 0.9, 9), (Operation.Equalise, 0.6, 6)
        (Operation.AutoContrast, 0.8, 4), (Operation.Solarise, 0.2, 8)
        (Operation.Brightness, 0.1, 3), (Operation.Colour, 0.7, 0)
        (Operation.Solarise, 0.4, 5), (Operation.AutoContrast, 0.9, 3)
        (Operation.TranslateY, 0.9, 9), (Operation.TranslateY, 0.7, 9)
        (Operation.AutoContrast, 0.9, 2), (Operation.Solarise, 0.8, 3)
        (Operation.Equalise, 0.8, 8), (Operation.Invert, 0.1, 3)
        (Operation.TranslateY, 0.7, 9), (Operation.AutoContrast, 0.9, 1)
    |]

    // Cubuk et al. 2019, appendix: the ranges. Translations were given for images of 331 pixels.
    let private learnt = {
        Levels = 10
        Shear = 0.3
        Translation = fun side -> 150.0 / 331.0 * side
        Degrees = 30.0
        Factor = 0.9
        Bits = 4.0
    }

    /// What AutoAugment does to the samples of a draw whose images have this height and width: two rounds, in
    /// each one change a sample.
    let autoAugmentChanges height width draw : Change[] list =
        let drawn purpose = Rng.numbers (Rng.sub purpose draw)
        let subPolicies = drawn "policy" |> Array.map (pick cifar10)

        let round name choose =
            (subPolicies, Array.zip (drawn (name + "/whether")) (drawn (name + "/sign")))
            ||> Array.map2 (fun subPolicy (whether, sign) ->
                let operation, probability, level = choose subPolicy
                if whether < probability then
                    atLevel learnt height width operation level (sign < 0.5)
                else
                    nothing)

        [ round "first" fst; round "second" snd ]

    let private mid = 128.0 / 255.0

    /// AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019), also used for CIFAR-100: one of 25 sub-policies
    /// for each sample, that is two operations, each done with its probability at its level of ten. Shears,
    /// translations and rotations go either way, factors lie on either side of 1, and what comes from outside
    /// of the image is mid-grey (128 of 255). Posterise and equalise round to 256 levels.
    let autoAugmentCifar10: View =
        Named.create "AutoAugment for CIFAR-10" (fun draw x ->
            Shape.rank "n;c;h;w" (nameof x) x

            Scope.tensor (fun () ->
                (x.alias (), autoAugmentChanges x.shape[2] x.shape[3] draw)
                ||> List.fold (fun x changes -> apply mid changes x)))

    // Mueller and Hutter 2021, table of the wide augmentation space; translations are in pixels, whatever the
    // image's size.
    let private wide = {
        Levels = 31
        Shear = 0.99
        Translation = fun _ -> 32.0
        Degrees = 135.0
        Factor = 0.99
        Bits = 2.0
    }

    let private trivial = [|
        Operation.Identity
        Operation.ShearX
        Operation.ShearY
        Operation.TranslateX
        Operation.TranslateY
        Operation.Rotate
        Operation.Brightness
        Operation.Contrast
        Operation.Colour
        Operation.Sharpness
        Operation.Posterise
        Operation.Solarise
        Operation.AutoContrast
        Operation.Equalise
    |]

    /// What TrivialAugment does to the samples of a draw: one change a sample.
    let trivialAugmentChanges draw : Change[] =
        let drawn purpose = Rng.numbers (Rng.sub purpose draw)

        Array.map3
            (fun operation level sign ->
                let level = int (level * float wide.Levels)
                atLevel wide 0L 0L (pick trivial operation) level (sign < 0.5))
            (drawn "operation")
            (drawn "level")
            (drawn "sign")

    /// TrivialAugment over the wide space (Mueller and Hutter 2021): one of 14 operations for each sample at
    /// one of 31 levels, all equally likely. Shears to 0.99, translations to 32 pixels and
    /// rotations to 135 degrees, each either way; factors from 0.01 to 1.99; 8 to 2 bits; thresholds from 256
    /// to 0 of 256 levels. What comes from outside of the image is black. Posterise and equalise round to 256
    /// levels.
    let trivialAugmentWide: View =
        Named.create "TrivialAugment, wide" (fun draw x -> apply 0.0 (trivialAugmentChanges draw) x)
