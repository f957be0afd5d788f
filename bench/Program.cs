using System.Linq;
using AdvContrast.Bench.Kernel;
using BenchmarkDotNet.Running;

namespace AdvContrast.Bench;

internal static class Program
{
    private static int Main(string[] args)
    {
        switch (args.FirstOrDefault())
        {
            case "kernel":
                return Comparison.Run(args[1..]);
            case Answers.Command:
                Answers.Run(args[1..]);
                return 0;
        }
        if (args.Contains("--quick"))
        {
            Quick.Run();
            return 0;
        }
        BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
        return 0;
    }
}
