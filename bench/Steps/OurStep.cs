using System.Collections.Generic;
using System.Linq;
using AdvContrast.Engine;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;

namespace AdvContrast.Bench.Steps;

/// <summary>AdvContrast's training steps by a recipe.</summary>
internal sealed class OurStep : IStep
{
    private readonly Recipe recipe;
    private readonly Core.Training.Precision precision;
    private readonly IEnumerator<double> steps;

    internal OurStep(Recipe recipe, string kind)
    {
        this.recipe = recipe;
        precision = kind switch
        {
            Side.Plain => Core.Training.Precision.Plain,
            Side.Float32 => Core.Training.Precision.Float32,
            _ => Automatic(recipe.Device),
        };
        steps = Losses(recipe.Training(precision, recipe.Ascent)).GetEnumerator();
    }

    public double Step()
    {
        steps.MoveNext();
        return steps.Current;
    }

    public StepResults Check()
    {
        float[] gradient = [];
        void Observe(Tensor x) => gradient = recipe.InOrder(x).data<float>().ToArray();
        var reached = Losses(recipe.Scoring(precision, recipe.Observed(Observe))).First();
        return new(
            Losses(recipe.Training(precision, recipe.AtStart)).First(),
            Losses(recipe.Scoring(precision, recipe.AtStart)).First(), reached, gradient);
    }

    // What --precision auto takes.
    private static Core.Training.Precision Automatic(Device device) =>
        Hardware.Devices().Any(d => d.Device.type == device.type && d.HasFastBfloat16)
            ? Core.Training.Precision.BFloat16
            : Core.Training.Precision.Float32;

    private IEnumerable<double> Losses(Core.Training.Trainer training) =>
        Core.Training.TrainerModule
            .events(training, FuncConvert.FromFunc(recipe.Start))
            .Select(e => e.IsOk ? e.ResultValue.Loss : double.NaN);
}
