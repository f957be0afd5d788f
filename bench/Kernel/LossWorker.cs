using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using AdvContrast.Engine;
using TorchSharp;

namespace AdvContrast.Bench.Kernel;

/// <summary>Our side of a comparison: the same program as bench/peers/kernel.py.</summary>
internal static class Answers
{
    internal const string Command = "kernel-side";

    private const ulong Seed = 1;

    /// <summary>Takes a loss, how many views of how many rows and columns, and threads.</summary>
    internal static void Run(string[] args)
    {
        var loss = Loss.All.Single(loss => loss.Name == args[0]);
        var numbers = Array.ConvertAll(args[1..], int.Parse);
        torch.set_num_threads(numbers[3]);
        using var generator = new torch.Generator(Seed);
        var views = Enumerable.Range(0, numbers[0])
            .Select(_ => torch.randn(numbers[1], numbers[2], requires_grad: true, generator: generator))
            .ToList();

        while (Console.ReadLine() is { } line)
        {
            var request = line.Split(' ', 2);
            Console.WriteLine(request[0] switch
            {
                "start" => $"{TorchEngine.Current.LibTorch.Version} {torch.get_num_threads()}",
                "time" => Seconds(int.Parse(request[1])).ToString("R", CultureInfo.InvariantCulture),
                _ => Check(request[1]).ToString("R", CultureInfo.InvariantCulture),
            });
        }

        double Seconds(int calls)
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < calls; i++)
            {
                using var scope = torch.NewDisposeScope();
                torch.autograd.grad([loss.Of(views)], views);
            }
            return Stopwatch.GetElapsedTime(start).TotalSeconds / calls;
        }

        // The loss; the gradient goes into the file.
        double Check(string path)
        {
            using var scope = torch.NewDisposeScope();
            var value = loss.Of(views);
            var gradient = torch.cat(torch.autograd.grad([value], views)).data<float>().ToArray();
            File.WriteAllBytes(path, MemoryMarshal.AsBytes<float>(gradient));
            return value.item<float>();
        }
    }
}
