using BenchmarkDotNet.Attributes;
using TorchSharp;

namespace AdvContrast.Bench;

/// <summary>The cost of a call: adding two tensors of four elements, and freeing the sum.</summary>
[InProcess]
public class Add
{
    private const int SumsOfScope = 100;

    private readonly torch.Tensor left = torch.ones(4);
    private readonly torch.Tensor right = torch.ones(4);

    /// <summary>The sum is disposed by hand.</summary>
    [Benchmark]
    public void Tensors() => left.add(right).Dispose();

    /// <summary>The same with a number, which TorchSharp makes a scalar object of.</summary>
    [Benchmark]
    public void Number() => (left + 1.0).Dispose();

    /// <summary>Sums that their scope frees.</summary>
    [Benchmark(OperationsPerInvoke = SumsOfScope)]
    public void InScope()
    {
        using var scope = torch.NewDisposeScope();
        for (var i = 0; i < SumsOfScope; i++) left.add(right);
    }
}
