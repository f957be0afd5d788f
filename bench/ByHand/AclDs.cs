using System.Collections.Generic;
using AdvContrast.Bench.Steps;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace AdvContrast.Bench.ByHand;

/// <summary>ACL's dual stream (Jiang et al. 2020).</summary>
internal sealed class AclDs(SharedTensors shared, bool isPublished)
    : Method(new(Width, shared.Mean, shared.Std, Momenta, new Head()), shared, isPublished)
{
    private const double Radius = 8 / 255.0;
    private const double StepSize = 2 / 255.0;
    private const int Steps = 5;

    private static readonly Dictionary<string, double> Momenta = new() { ["clean"] = 0.1, ["adv"] = 0.1 };

    private Lars? lars;

    protected override Tensor FirstPoint => Project(Views, Start);

    protected override Tensor Objective(Tensor x) => Contrast(x, "adv");

    protected override Tensor Attack()
    {
        var (origin, x) = (Views, Start);
        for (var i = 0; i < Steps; i++)
        {
            using var scope = NewDisposeScope();
            x = Project(origin, x + StepSize * ImageGradient(x).sign()).MoveToOuterDisposeScope();
        }
        return x;
    }

    protected override Tensor Loss(Tensor adversarial) =>
        (Contrast(Views, "clean") + Contrast(adversarial, "adv")) / 2;

    protected override void Update() => (lars ??= new(Parameters)).Step();

    protected override bool AttacksInTrainMode => false;

    private Tensor Views => cat([First, Second]);

    private static Tensor Project(Tensor origin, Tensor x) =>
        minimum(maximum(x, origin - Radius), origin + Radius).clamp(0, 1);

    private Tensor Contrast(Tensor images, string branch)
    {
        var views = Embed(images, branch).chunk(2);
        return Contrasts.NtXent(views[0], views[1]);
    }

    /// <summary>Three linear maps, a batch normalisation after each.</summary>
    private sealed class Head : Module<Tensor, Tensor>
    {
        private readonly Linear fc1;
        private readonly BranchNorm bn1;
        private readonly Linear fc2;
        private readonly BranchNorm bn2;
        private readonly Linear fc3;
        private readonly BranchNorm bn3;

        internal Head() : base(nameof(Head))
        {
            const long width = 8 * Width;
            static BranchNorm Norm() => new(Momenta, momentum => BatchNorm1d(width, momentum: momentum));
            fc1 = Linear(width, width);
            bn1 = Norm();
            fc2 = Linear(width, width, hasBias: false);
            bn2 = Norm();
            fc3 = Linear(width, width, hasBias: false);
            bn3 = Norm();
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            using var scope = NewDisposeScope();
            x = functional.relu(bn1.call(fc1.call(x)));
            x = functional.relu(bn2.call(fc2.call(x)));
            return bn3.call(fc3.call(x)).MoveToOuterDisposeScope();
        }
    }
}
