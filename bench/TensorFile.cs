using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;

namespace AdvContrast.Bench;

/// <summary>Files of safetensors, by which the sides of a comparison share tensors.</summary>
internal static class TensorFile
{
    /// <summary>Writes tensors by name.</summary>
    internal static void Write(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors)
    {
        var leaves = tensors.Select(t => Tuple.Create(t.Key, Core.Foundation.Leaf.NewTensor(t.Value)));
        var tree = new FSharpMap<string, Core.Foundation.Leaf>(leaves);
        Core.Foundation.Safetensors.write(path, new FSharpMap<string, string>([]), tree).Value();
    }

    /// <summary>Reads tensors by name onto a device; they belong to no scope.</summary>
    internal static Dictionary<string, Tensor> Read(string path, Device device) =>
        Core.Foundation.Safetensors.read(path).Value().Item2
            .Where(leaf => leaf.Value.IsTensor)
            .ToDictionary(leaf => leaf.Key, leaf => ((Core.Foundation.Leaf.Tensor)leaf.Value).Item.to(device));

    /// <summary>The value of a result of AdvContrast.</summary>
    /// <exception cref="UsageException">It is an error.</exception>
    internal static T Value<T>(this FSharpResult<T, Core.Foundation.Error> result) =>
        result.IsError
            ? throw new UsageException(Core.Foundation.ErrorModule.message(result.ErrorValue))
            : result.ResultValue;
}
