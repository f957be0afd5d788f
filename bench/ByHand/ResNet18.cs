using System.Collections.Generic;
using System.Linq;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace AdvContrast.Bench.ByHand;

/// <summary>Two 3x3 convolutions and a shortcut (He et al. 2016).</summary>
internal sealed class Block : Module<Tensor, Tensor>
{
    private readonly Conv2d conv1;
    private readonly BranchNorm bn1;
    private readonly Conv2d conv2;
    private readonly BranchNorm bn2;
    private readonly Sequential? downsample;

    internal Block(long input, long width, long stride, IReadOnlyDictionary<string, double> momenta)
        : base(nameof(Block))
    {
        BranchNorm Norm() => new(momenta, momentum => BatchNorm2d(width, momentum: momentum));
        conv1 = Conv2d(input, width, 3, stride: stride, padding: 1, bias: false);
        bn1 = Norm();
        conv2 = Conv2d(width, width, 3, padding: 1, bias: false);
        bn2 = Norm();
        if (stride != 1 || input != width)
            downsample = Sequential(
                ("0", Conv2d(input, width, 1, stride: stride, bias: false)), ("1", Norm()));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var y = functional.relu(bn1.call(conv1.call(x)));
        y = bn2.call(conv2.call(y)) + (downsample is null ? x : downsample.call(x));
        return functional.relu(y).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// ResNet-18 with the CIFAR stem in float32: images [n; 3; h; w] in [0, 1], which it normalises, to the
/// output of a module on its pooled features [n; 8 width].
/// </summary>
internal sealed class ResNet18 : Module<Tensor, Tensor>
{
    /// <summary>Channels of the images.</summary>
    internal const long Channels = 3;

    private readonly Tensor mean;
    private readonly Tensor std;
    private readonly Conv2d conv1;
    private readonly BranchNorm bn1;
    private readonly Sequential layer1;
    private readonly Sequential layer2;
    private readonly Sequential layer3;
    private readonly Sequential layer4;
    private readonly Module<Tensor, Tensor> head;

    /// <param name="width">Channels of the first stage, 64 as published.</param>
    /// <param name="mean">Mean of the channels [3].</param>
    /// <param name="std">Standard deviation of the channels [3].</param>
    /// <param name="momenta">The momentum of the running statistics of each branch.</param>
    /// <param name="head">The module on the features.</param>
    internal ResNet18(
        long width, Tensor mean, Tensor std, IReadOnlyDictionary<string, double> momenta,
        Module<Tensor, Tensor> head)
        : base(nameof(ResNet18))
    {
        Sequential Stage(long input, long output, long stride) => Sequential(
            ("0", new Block(input, output, stride, momenta)), ("1", new Block(output, output, 1, momenta)));
        this.mean = mean.reshape(1, Channels, 1, 1);
        this.std = std.reshape(1, Channels, 1, 1);
        conv1 = Conv2d(Channels, width, 3, padding: 1, bias: false);
        bn1 = new(momenta, momentum => BatchNorm2d(width, momentum: momentum));
        layer1 = Stage(width, width, 1);
        layer2 = Stage(width, 2 * width, 2);
        layer3 = Stage(2 * width, 4 * width, 2);
        layer4 = Stage(4 * width, 8 * width, 2);
        this.head = head;
        RegisterComponents();
    }

    /// <summary>The branch that the next call uses.</summary>
    internal string Branch
    {
        set
        {
            foreach (var norm in modules().OfType<BranchNorm>()) norm.Branch = value;
        }
    }

    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        var x = functional.relu(bn1.call(conv1.call((images - mean) / std)));
        x = layer4.call(layer3.call(layer2.call(layer1.call(x))));
        return head.call(x.mean([2, 3])).MoveToOuterDisposeScope();
    }

    /// <summary>Copies all parameters and running statistics from tensors by AdvContrast's names.</summary>
    /// <param name="tensors">
    /// Tensors such as <c>bn1.weight@adv</c>, or <c>bn1.weight</c> for a network of one branch.
    /// </param>
    internal void Load(IReadOnlyDictionary<string, Tensor> tensors)
    {
        using var scope = NewDisposeScope();
        using var gradient = no_grad();
        foreach (var (name, value) in state_dict())
        {
            if (name is nameof(mean) or nameof(std) || name.EndsWith("num_batches_tracked")) continue;
            var parts = name.Split('.');
            var (module, branch, leaf) = (string.Join('.', parts[..^2]), parts[^2], parts[^1]);
            string[] names = [name, $"{module}.{leaf}@{branch}", $"{module}.{leaf}"];
            value.copy_(tensors[names.First(tensors.ContainsKey)]);
        }
    }
}
