using System.Collections.Generic;
using System.Linq;
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
    IReadOnlyDictionary<string, Tensor> Weights, Tensor First, Tensor Second, Tensor Start, Tensor Mean,
    Tensor Std)
{
    private const string ParameterPrefix = "p:";

    /// <summary>Writes the file.</summary>
    internal void Write(string path) => TensorFile.Write(
        path,
        Weights.Select(weight => KeyValuePair.Create(ParameterPrefix + weight.Key, weight.Value)).Concat(
            new Dictionary<string, Tensor>
            {
                ["first"] = First,
                ["second"] = Second,
                ["start"] = Start,
                ["mean"] = Mean,
                ["std"] = Std,
            }));

    /// <summary>Reads a file onto a device; the tensors belong to no scope.</summary>
    internal static SharedTensors Read(string path, Device device)
    {
        var tensors = TensorFile.Read(path, device);
        var weights = tensors
            .Where(tensor => tensor.Key.StartsWith(ParameterPrefix))
            .ToDictionary(tensor => tensor.Key[ParameterPrefix.Length..], tensor => tensor.Value);
        return new(
            weights, tensors["first"], tensors["second"], tensors["start"], tensors["mean"], tensors["std"]);
    }
}
