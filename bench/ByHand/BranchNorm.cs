using System;
using System.Collections.Generic;
using System.Linq;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace AdvContrast.Bench.ByHand;

/// <summary>
/// Batch normalisation with weights and running statistics of its own for each branch (Xie et al. 2020).
/// </summary>
internal sealed class BranchNorm : Module<Tensor, Tensor>
{
    private readonly Dictionary<string, Module<Tensor, Tensor>> norms;

    /// <param name="momenta">The momentum of the running statistics of each branch.</param>
    /// <param name="create">Creates a batch normalisation of a momentum.</param>
    internal BranchNorm(
        IReadOnlyDictionary<string, double> momenta, Func<double, Module<Tensor, Tensor>> create)
        : base(nameof(BranchNorm))
    {
        norms = momenta.ToDictionary(branch => branch.Key, branch => create(branch.Value));
        Branch = momenta.Keys.First();
        foreach (var (name, norm) in norms) register_module(name, norm);
    }

    /// <summary>The branch that the next call uses.</summary>
    internal string Branch { get; set; }

    public override Tensor forward(Tensor x) => norms[Branch].call(x);
}
