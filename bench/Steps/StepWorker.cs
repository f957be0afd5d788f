using TorchSharp;

namespace AdvContrast.Bench.Steps;

/// <summary>The process of a side that runs on TorchSharp.</summary>
internal static class StepWorker
{
    /// <summary>The program's command that runs it.</summary>
    internal const string Command = "steps-worker";

    /// <summary>The arguments of a worker.</summary>
    /// <param name="recipe">What a step is.</param>
    /// <param name="side">Who runs it, and how.</param>
    /// <param name="threads">The threads of libtorch.</param>
    /// <param name="shared">The file of shared tensors.</param>
    internal static string[] Arguments(Recipe recipe, Side side, int threads, string shared) =>
    [
        Command, recipe.Name, recipe.Device.ToString(), $"{recipe.Batch}", side.Library, side.Kind,
        $"{threads}", shared,
    ];

    /// <summary>
    /// Answers requests about a side, from what follows the command in <see cref="Arguments"/>.
    /// </summary>
    internal static void Run(string[] args)
    {
        var recipe = Recipe.Find(args[0]) with { Device = torch.device(args[1]), Batch = int.Parse(args[2]) };
        var (library, kind, shared) = (args[3], args[4], args[6]);
        torch.set_num_threads(int.Parse(args[5]));
        Core.Foundation.Accelerator.convolveInTf32(recipe.Device, false);
        IStep step = library == Library.Ours
            ? new OurStep(recipe, kind)
            : recipe.ByHand(SharedTensors.Read(shared, recipe.Device), kind == Side.Published);
        Requests.Answer(() => step.Step(), Check);

        (double[] Numbers, float[] Values) Check()
        {
            var results = step.Check();
            return ([results.Loss, results.Objective, results.Reached], results.Gradient);
        }
    }
}
