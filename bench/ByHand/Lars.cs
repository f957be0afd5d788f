using System.Collections.Generic;
using System.Linq;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AdvContrast.Bench.ByHand;

/// <summary>
/// SGD with momentum whose rate is scaled, for each tensor, by the norm of the weights over that of the
/// gradient (You et al. 2017).
/// </summary>
internal sealed class Lars(IEnumerable<Parameter> parameters)
{
    private const double Rate = 0.1;
    private const double Momentum = 0.9;
    private const double Trust = 1e-3;
    private const double Decay = 1e-6;
    private const double Smallest = 1e-15;

    private readonly List<(Parameter Value, Tensor Velocity)> all =
        parameters.Select(p => (p, zeros_like(p).DetachFromDisposeScope())).ToList();

    internal void Step()
    {
        using var gradient = no_grad();
        foreach (var (p, velocity) in all)
        {
            using var scope = NewDisposeScope();
            var (weight, slope) = (p.norm(), p.grad!.norm());
            var ratio = Trust * weight / (slope + Decay * weight);
            ratio = where((weight < Smallest).logical_or(slope < Smallest), ones_like(ratio), ratio);
            var update = p.grad!.add(p, alpha: Decay).mul_(ratio * Rate);
            velocity.mul_(Momentum).add_(update);
            p.sub_(velocity);
        }
    }
}
