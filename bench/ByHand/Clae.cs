using System.Collections.Generic;
using AdvContrast.Bench.Steps;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace AdvContrast.Bench.ByHand;

/// <summary>CLAE over SimCLR (Ho and Vasconcelos 2020).</summary>
internal sealed class Clae(SharedTensors shared, bool isPublished)
    : Method(new(Width, shared.Mean, shared.Std, Momenta, Head()), shared, isPublished)
{
    private const double Radius = 0.015;
    private const double Rate = 3e-4;
    private const long EmbeddingWidth = 64;

    private static readonly Dictionary<string, double> Momenta = new() { ["clean"] = 0.1, ["adv"] = 0.01 };

    private optim.Optimizer? adam;

    protected override Tensor FirstPoint => Start;

    // Both through the adversarial branch.
    protected override Tensor Objective(Tensor x) => Contrasts.NtXent(Embed(First, "adv"), Embed(x, "adv"));

    protected override Tensor Attack() => First + Radius * ImageGradient(Start).sign();

    protected override Tensor Loss(Tensor adversarial)
    {
        var views = Embed(cat([First, Second]), "clean").chunk(2);
        return Contrasts.NtXent(views[0], views[1]) + Contrasts.NtXent(views[0], Embed(adversarial, "adv"));
    }

    protected override void Update() => (adam ??= optim.Adam(Parameters, Rate)).step();

    protected override bool AttacksInTrainMode => true;

    private static Module<Tensor, Tensor> Head() => Sequential(
        ("0", Linear(8 * Width, 8 * Width)), ("1", ReLU()), ("2", Linear(8 * Width, EmbeddingWidth)));
}
