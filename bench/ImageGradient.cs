using System.Linq;
using BenchmarkDotNet.Attributes;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;

namespace AdvContrast.Bench;

/// <summary>
/// The gradient in 64 images of 32x32 through ResNet-18 with folded batch norms, as attacks take it: by
/// number format and memory layout, from which AdvContrast's choice of the layout follows.
/// </summary>
[InProcess]
public class ImageGradient
{
    private const int Images = 64;
    private const int Channels = 3;
    private const int Size = 32;
    private const int Width = 64;
    private const ulong Seed = 1;

    private Tensor images = null!;
    private FSharpFunc<Tensor, Core.Networks.Output> network = null!;

    /// <summary>Whether weights and activations are bfloat16, else float32.</summary>
    [Params(false, true)]
    public bool IsBfloat16 { get; set; }

    /// <summary>Whether the channels of a pixel lie together, else each channel is contiguous.</summary>
    [Params(false, true)]
    public bool IsChannelsLast { get; set; }

    /// <summary>Makes a network of random weights.</summary>
    [GlobalSetup]
    public void Prepare()
    {
        using var none = no_grad();
        var branch = Core.Networks.Branch.NewBranch("clean");
        var (mean, std) = (Channel(0.5), Channel(0.25));
        var input = new Core.Data.ImageInfo(Channels, mean, std, classes: 10);
        var resNet = Core.Networks.ResNet.resNet18(
            Core.Networks.Stem.CifarStem, Width, input, ListModule.OfSeq([branch]));
        var weights = resNet.Init.Invoke(Core.Foundation.RngModule.create(Seed, "init", []));
        var prepare = FuncConvert.FromFunc<Tensor, Tensor>(Weight);
        network = resNet.Fold.Invoke(new(branch, weights.Item1, weights.Item2, prepare));
        var pixels = rand(Images, Channels, Size, Size);
        images = IsChannelsLast ? Core.Networks.NetworkModule.channelsLast(pixels) : pixels;

        Tensor Weight(Tensor weight)
        {
            var lower = IsBfloat16 ? Core.Networks.Convolution.lower(weight) : weight;
            return IsChannelsLast ? Core.Networks.NetworkModule.channelsLast(lower) : lower.alias();
        }
    }

    /// <summary>Forward, and backward to the images.</summary>
    [Benchmark]
    public void ForwardAndBackward()
    {
        using var scope = NewDisposeScope();
        var x = images.detach().requires_grad_();
        autograd.grad([network.Invoke(x).Features.square().sum()], [x]);
    }

    private static FSharpList<double> Channel(double value) =>
        ListModule.OfSeq(Enumerable.Repeat(value, Channels));
}
