using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.FSharp.Collections;
using static TorchSharp.torch;

namespace AdvContrast.Bench.Steps;

/// <summary>What all sides of a comparison start from; a file of safetensors carries it to each.</summary>
/// <param name="Weights">Parameters and running statistics by name, such as <c>bn1.weight@adv</c>.</param>
/// <param name="First">The first view of the images, uint8 [n; 3; h; w].</param>
/// <param name="Second">The second view.</param>
/// <param name="Start">The first point of the attack, float32 [m; 3; h; w].</param>
/// <param name="Mean">Mean of the channels [3].</param>
/// <param name="Std">Standard deviation of the channels [3].</param>
internal sealed record SharedTensors(
    IReadOnlyDictionary<string, Tensor> Weights, Tensor First, Tensor Second, Tensor Start, Tensor Mean, Tensor Std)
{
    private const string ParameterPrefix = "p:";

    /// <summary>Writes the file.</summary>
    internal void Write(string path)
    {
        var named = Weights.Select(weight => (ParameterPrefix + weight.Key, weight.Value)).Concat(
        [
            ("first", First), ("second", Second), ("start", Start), ("mean", Mean), ("std", Std),
        ]);
        var leaves = named.Select(t => Tuple.Create(t.Item1, Core.Leaf.NewValue(t.Item2)));
        var written = Core.Safetensors.write(
            path, new FSharpMap<string, string>([]), new FSharpMap<string, Core.Leaf>(leaves));
        if (written.IsError) throw new InvalidOperationException(Core.ErrorModule.message(written.ErrorValue));
    }

    /// <summary>Reads a file onto a device; the tensors belong to no scope.</summary>
    internal static SharedTensors Read(string path, Device device)
    {
        var read = Core.Safetensors.read(path);
        if (read.IsError) throw new InvalidOperationException(Core.ErrorModule.message(read.ErrorValue));
        var tensors = read.ResultValue.Item2
            .Where(leaf => leaf.Value.IsValue)
            .ToDictionary(leaf => leaf.Key, leaf => ((Core.Leaf.Value)leaf.Value).Item.to(device));
        var weights = tensors
            .Where(tensor => tensor.Key.StartsWith(ParameterPrefix))
            .ToDictionary(tensor => tensor.Key[ParameterPrefix.Length..], tensor => tensor.Value);
        return new(
            weights, tensors["first"], tensors["second"], tensors["start"], tensors["mean"], tensors["std"]);
    }
}
