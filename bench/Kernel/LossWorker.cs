using System;
using System.Linq;
using TorchSharp;

namespace AdvContrast.Bench.Kernel;

/// <summary>
/// The process of a side that runs on TorchSharp: the same program as bench/peers/kernel.py.
/// </summary>
internal static class LossWorker
{
    /// <summary>The program's command that runs it.</summary>
    internal const string Command = "kernel-worker";

    private const ulong Seed = 1;

    /// <summary>
    /// Takes the library, a loss, numbers of views, of their rows and of their columns, and the threads.
    /// </summary>
    internal static void Run(string[] args)
    {
        var loss = Loss.All.Single(loss => loss.Name == args[1]);
        var of = args[0] == Library.Ours ? loss.Of : loss.ByHand!;
        var numbers = Array.ConvertAll(args[2..], int.Parse);
        torch.set_num_threads(numbers[3]);
        using var generator = new torch.Generator(Seed);
        var views = Enumerable.Range(0, numbers[0])
            .Select(_ => torch.randn(numbers[1], numbers[2], requires_grad: true, generator: generator))
            .ToList();
        Requests.Answer(Call, Check);

        void Call()
        {
            using var scope = torch.NewDisposeScope();
            torch.autograd.grad([of(views)], views);
        }

        // The loss and its gradient.
        (double[] Numbers, float[] Values) Check()
        {
            using var scope = torch.NewDisposeScope();
            var value = of(views);
            var gradient = torch.cat(torch.autograd.grad([value], views)).data<float>().ToArray();
            return ([value.item<float>()], gradient);
        }
    }
}
