using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>Weights of another program through the C# door.</summary>
public static class Loading
{
    [Tests]
    public static Test Tests => TestList(
        "Loading",
        [
            TestCase("loads a state dict for the network that is named", Loads),
            TestCase("says what does not fit", Refuses),
        ]);

    // The small network, one channel wide, whose convolutions give nothing and whose batch norms add a half.
    private static string Weights(Folder folder)
    {
        long[] sizes = [1, 1, 2, 2, 4, 4];
        var entries = new List<string>();
        var body = new List<byte>();

        void Add(string name, float value, params long[] shape)
        {
            var from = body.Count;
            for (var i = shape.Aggregate(1L, (a, b) => a * b); i > 0; i--)
                body.AddRange(BitConverter.GetBytes(value));
            var sides = string.Join(",", shape);
            entries.Add($$"""
                "{{name}}":{"dtype":"F32","shape":[{{sides}}],"data_offsets":[{{from}},{{body.Count}}]}
                """);
        }

        for (var i = 1; i < sizes.Length; i++)
        {
            Add($"conv{i}.weight", 0, sizes[i], sizes[i - 1], 3, 3);
            Add($"bn{i}.weight", 1, sizes[i]);
            Add($"bn{i}.bias", 0.5f, sizes[i]);
            Add($"bn{i}.running_mean", 0, sizes[i]);
            Add($"bn{i}.running_var", 1, sizes[i]);
        }

        var header = System.Text.Encoding.UTF8.GetBytes("{" + string.Join(",", entries) + "}");
        var path = folder.At("weights.safetensors");
        File.WriteAllBytes(path, [.. BitConverter.GetBytes((long)header.Length), .. header, .. body]);
        return path;
    }

    private static void Loads()
    {
        using var folder = new Folder();
        using var encoder = Encoder.Load(Weights(folder), "small", "none");
        Expect.equal(encoder.FeatureWidth, 4L, "the file's width");
        Expect.equal(encoder.Options.Network, "small", "its network");
        Expect.equal(encoder.Device.type, DeviceType.CPU, "its device");
        Expect.sequenceEqual(Tiny.Features(encoder), Enumerable.Repeat(0.5f, 16), "features");
    }

    private static void Refuses()
    {
        using var folder = new Folder();
        var path = Weights(folder);

        void Says(ErrorCode code, string says, string file, string network, string? normalise)
        {
            var raised = Throws<AdvContrastException>(
                () => Encoder.Load(file, network, normalise), "a fault");
            Expect.equal(raised.Code, code, raised.Message);
            Expect.stringContains(raised.Message, says, "what to do");
        }

        Says(ErrorCode.Damaged, "weights of the small network", path, "resnet18", "none");
        Says(ErrorCode.UnknownName, "'small'", path, "smal", "none");
        Says(ErrorCode.UnknownName, "'imagenet'", path, "small", "imagnet");
        Says(ErrorCode.BadOption, "--normalise", path, "small", null);
        Says(ErrorCode.Missing, "nothing", folder.At("nothing"), "small", "none");
        Throws<ArgumentNullException>(() => Encoder.Load(path, null!), "no network");
    }
}
