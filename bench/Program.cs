using System;
using System.Linq;
using AdvContrast.Engine;
using BenchmarkDotNet.Running;

namespace AdvContrast.Bench;

internal static class Program
{
    private static int Main(string[] args)
    {
        LibTorch.Load();
        try
        {
            return Run(args.FirstOrDefault(), args.Length == 0 ? [] : args[1..]);
        }
        catch (WorkerEndedException e)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
        catch (UsageException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }

        int Run(string? command, string[] rest)
        {
            switch (command)
            {
                case "steps": return Steps.Comparison.Run(rest);
                case "kernel": return Kernel.Comparison.Run(rest);
                case "converge": return Converge.Comparison.Run(rest);
                case "autoattack": return AutoAttack.Comparison.Run(rest);
                case Steps.StepWorker.Command: Steps.StepWorker.Run(rest); return 0;
                case Kernel.LossWorker.Command: Kernel.LossWorker.Run(rest); return 0;
                case Converge.TrainingWorker.Command: Converge.TrainingWorker.Run(rest); return 0;
                case AutoAttack.AttackWorker.Command: AutoAttack.AttackWorker.Run(rest); return 0;
                case AutoAttack.PassesWorker.Command: AutoAttack.PassesWorker.Run(rest); return 0;
                default:
                    BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
                    return 0;
            }
        }
    }
}
