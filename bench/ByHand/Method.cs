using AdvContrast.Bench.Steps;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AdvContrast.Bench.ByHand;

/// <summary>
/// Training steps of a method, written out in TorchSharp: float32, batch normalisation as a layer, contiguous
/// images.
/// </summary>
internal abstract class Method : IStep
{
    /// <summary>Channels of the first stage of ResNet-18.</summary>
    protected const long Width = 64;

    private readonly ResNet18 network;
    private readonly bool isPublished;

    /// <param name="network">The network in training.</param>
    /// <param name="shared">Weights, statistics, images, and the first point of the attack.</param>
    /// <param name="isPublished">
    /// Whether the attack computes the gradients of the parameters too, as the papers' authors run it.
    /// </param>
    protected Method(ResNet18 network, SharedTensors shared, bool isPublished)
    {
        this.network = network;
        this.isPublished = isPublished;
        network.to(shared.First.device);
        network.Load(shared.Weights);
        Parameters = [.. network.parameters()];
        First = Pixels(shared.First);
        Second = Pixels(shared.Second);
        Start = shared.Start;
    }

    protected Parameter[] Parameters { get; }

    /// <summary>The two views of the images [n; 3; h; w] in [0, 1].</summary>
    protected Tensor First { get; }
    protected Tensor Second { get; }

    /// <summary>Where the attack takes its first gradient.</summary>
    protected Tensor Start { get; }

    /// <summary>The same, as images that the attack could end at.</summary>
    protected abstract Tensor FirstPoint { get; }

    /// <summary>Whether the attack runs the network in train mode.</summary>
    protected abstract bool AttacksInTrainMode { get; }

    /// <summary>What the attack raises, at images x.</summary>
    protected abstract Tensor Objective(Tensor x);

    /// <summary>The adversarial images.</summary>
    protected abstract Tensor Attack();

    /// <summary>The loss of the two views and the adversarial images.</summary>
    protected abstract Tensor Loss(Tensor adversarial);

    /// <summary>Changes the parameters by their gradients.</summary>
    protected abstract void Update();

    /// <summary>Makes a training step.</summary>
    /// <returns>The loss.</returns>
    public double Step()
    {
        using var scope = NewDisposeScope();
        network.train(AttacksInTrainMode);
        var adversarial = Attack();
        network.train();
        var loss = Loss(adversarial);
        network.zero_grad();
        loss.backward();
        Update();
        return loss.item<float>();
    }

    /// <summary>
    /// Computes what is compared. No result depends on running statistics that a pass moves.
    /// </summary>
    public StepResults Check()
    {
        using var scope = NewDisposeScope();
        network.train(AttacksInTrainMode);
        var gradient = ImageGradient(Start).data<float>().ToArray();
        var adversarial = Attack();
        using var none = no_grad();
        var (objective, reached) = (Objective(FirstPoint), Objective(adversarial));
        network.train();
        return new(Loss(FirstPoint).item<float>(), objective.item<float>(), reached.item<float>(), gradient);
    }

    /// <summary>The embeddings of images by a branch.</summary>
    protected Tensor Embed(Tensor images, string branch)
    {
        network.Branch = branch;
        return network.call(images);
    }

    /// <summary>The gradient of the objective in images x.</summary>
    protected Tensor ImageGradient(Tensor x)
    {
        using var scope = NewDisposeScope();
        var leaf = x.detach().requires_grad_();
        if (isPublished)
        {
            network.zero_grad();
            Objective(leaf).backward();
            return leaf.grad!.MoveToOuterDisposeScope();
        }
        foreach (var p in Parameters) p.requires_grad = false;
        var gradient = autograd.grad([Objective(leaf)], [leaf])[0];
        foreach (var p in Parameters) p.requires_grad = true;
        return gradient.MoveToOuterDisposeScope();
    }

    private static Tensor Pixels(Tensor bytes) => bytes.to(ScalarType.Float32) / 255.0;
}
