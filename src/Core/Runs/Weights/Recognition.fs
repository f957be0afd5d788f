namespace AdvContrast.Core.Runs

open System.Text.RegularExpressions

/// Recognises a network by the names and shapes of its weights.
[<NoComparison>]
type Recognised = {
    /// <c>"a ResNet-50 with a 7x7 stem"</c>.
    Text: string
    /// The networks of the zoo that have these names and shapes; none where it is not among them.
    Networks: string list
}

[<RequireQualifiedAccess>]
module Recognition =

    let private size (shapes: Map<string, int64[]>) name axis =
        Map.tryFind name shapes |> Option.bind (Array.tryItem axis)

    // How many different numbers stand in a place of the names.
    let private count (shapes: Map<string, int64[]>) (pattern: string) =
        shapes.Keys
        |> Seq.choose (fun name ->
            let found = Regex.Match(name, pattern)
            if found.Success then Some found.Groups[1].Value else None)
        |> Seq.distinct
        |> Seq.length

    let private depths =
        Map [
            (false, [ 2; 2; 2; 2 ]), "18"
            (false, [ 3; 4; 6; 3 ]), "34"
            (true, [ 3; 4; 6; 3 ]), "50"
            (true, [ 3; 4; 23; 3 ]), "101"
            (true, [ 3; 8; 36; 3 ]), "152"
        ]

    let private known = [ "18"; "34"; "50" ]

    // Layers that make another network of one with a ResNet's names.
    let private variant shapes isBottleneck =
        let has pattern = Map.exists (fun name _ -> Regex.IsMatch(name, pattern)) shapes
        let inner = size shapes "layer1.0.conv1.weight" 0
        let second = size shapes "layer1.0.conv2.weight"

        if has @"^layer\d\.\d+\.se\." then Some "squeeze and excitation"
        elif has @"^conv1\.0\.weight" || has @"^conv3\.weight" then Some "a stem of several convolutions"
        elif has @"^layer\d\.0\.downsample\.2\." then Some "average pooling in its shortcuts"
        elif isBottleneck && second 1 <> inner then Some "grouped convolutions"
        elif isBottleneck && inner <> size shapes "conv1.weight" 0 then Some "wider bottlenecks"
        else None

    let private residual shapes =
        let blocks = [ for i in 1..4 -> count shapes $@"^layer{i}\.(\d+)\.conv1\.weight$" ]
        let isBottleneck = shapes.ContainsKey "layer1.0.conv3.weight"
        let isPreActivated = not (shapes.ContainsKey "bn1.weight")
        let depth = Map.tryFind (isBottleneck, blocks) depths
        let kind = if isPreActivated then "PreActResNet" else "ResNet"

        let title =
            match depth with
            | Some depth -> sprintf "a %s-%s" kind depth
            | None -> sprintf "a %s of %s blocks" kind (blocks |> List.map string |> String.concat ", ")

        let stem = size shapes "conv1.weight" 2
        let stemText =
            stem |> Option.map (fun k -> sprintf " with a %dx%d stem" k k) |> Option.defaultValue ""

        match variant shapes isBottleneck, depth, stem with
        | Some variant, _, _ -> { Text = sprintf "%s with %s" title variant; Networks = [] }
        | None, Some "18", Some 3L when isPreActivated ->
            if shapes.ContainsKey "bn.weight" then
                { Text = title; Networks = [ "preactresnet18" ] }
            else
                { Text = title + " without a last batch norm"; Networks = [] }
        | None, Some depth, Some kernel when not isPreActivated && List.contains depth known ->
            let name = "resnet" + depth

            {
                Text = title + stemText
                Networks =
                    match kernel with
                    | 3L -> [ name; name + "-pad2" ]
                    | 7L -> [ name + "-imagenet" ]
                    | _ -> []
            }
        | _ -> { Text = title + stemText; Networks = [] }

    let private wide shapes =
        let depth = 6 * count shapes @"^block1\.layer\.(\d+)\." + 4
        let width = size shapes "block1.layer.0.conv1.weight" 0 |> Option.defaultValue 0L
        let name = sprintf "wrn-%d-10" depth

        {
            Text =
                if width % 16L = 0L then
                    sprintf "a wide ResNet, WRN-%d-%d" depth (width / 16L)
                else
                    sprintf "a wide ResNet of depth %d and width %d" depth width
            Networks = if depth = 28 || depth = 34 then [ name ] else []
        }

    /// What the weights are of. shapes: by PyTorch's names, without a prefix. None where the names tell nothing.
    let ofShapes (shapes: Map<string, int64[]>) : Recognised option =
        let has pattern = Map.exists (fun name _ -> Regex.IsMatch(name, pattern)) shapes
        let other text = Some { Text = text; Networks = [] }

        if has @"^layer1\.0\.conv1\.weight$" then
            Some(residual shapes)
        elif has @"^block1\.layer\.0\.conv1\.weight$" then
            Some(wide shapes)
        elif has @"^init_conv\.|^layer\.0\.block\.0\." then
            other "a wide ResNet of DeepMind's code (SiLU, not ReLU)"
        elif has @"attn|cls_token|patch_embed|pos_embed" then
            other "a vision transformer"
        elif has @"^stages\.\d+\." then
            other "a ConvNeXt"
        elif has @"^features\.denseblock" then
            other "a DenseNet"
        elif has @"^features\.\d+\." then
            other "a network of the VGG or MobileNet kind"
        elif has @"^conv5\.weight$" && has @"^bn5\." then
            Some { Text = "the small network"; Networks = [ "small" ] }
        else
            None
