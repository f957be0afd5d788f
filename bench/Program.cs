using System.Linq;
using BenchmarkDotNet.Running;

namespace AdvContrast.Bench;

internal static class Program
{
    private static int Main(string[] args)
    {
        switch (args.FirstOrDefault())
        {
            case "kernel":
                return Kernel.Comparison.Run(args[1..]);
            case "steps":
                return Steps.Comparison.Run(args[1..]);
            case Kernel.Answers.Command:
                Kernel.Answers.Run(args[1..]);
                return 0;
            case Steps.Answers.Command:
                Steps.Answers.Run(args[1..]);
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
