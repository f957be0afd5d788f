using BenchmarkDotNet.Attributes;
using TorchSharp;

namespace AdvContrast.Bench;

/// <summary>What one call costs: adding two tensors of four elements, and freeing the sum.</summary>
/// <remarks>In this process: a project that BenchmarkDotNet generates would not have the bridge beside
/// it.</remarks>
[InProcess]
public class Add
{
    private readonly torch.Tensor left = torch.ones(4);
    private readonly torch.Tensor right = torch.ones(4);

    /// <summary>The sum is disposed by hand, within an open scope as in a training step.</summary>
    [Benchmark]
    public void Tensors() => left.add(right).Dispose();

    /// <summary>The same with a number, which needs no scalar object.</summary>
    [Benchmark]
    public void Number() => (left + 1.0).Dispose();

    /// <summary>A step's worth of sums, freed by their scope.</summary>
    [Benchmark(OperationsPerInvoke = SumsAScope)]
    public void InScope()
    {
        using var scope = torch.NewDisposeScope();
        for (var i = 0; i < SumsAScope; i++) left.add(right);
    }

    private const int SumsAScope = 100;
}
