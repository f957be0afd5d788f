using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast;

/// <summary>One training step done.</summary>
/// <param name="Stage">The method's name, or that of a stage before it, <c>"deacl/teacher"</c>.</param>
/// <param name="Step">Steps done since the start of the run, from 1.</param>
/// <param name="Steps">Steps in all.</param>
/// <param name="Epoch">The epoch that the step belonged to, from 1.</param>
/// <param name="Epochs">Epochs in all.</param>
/// <param name="Loss">The method's loss in the step, the mean over anchors; NaN in a stage that computes
/// something without training, where a step is an image.</param>
/// <param name="Measures">What else the method watches, by name.</param>
/// <param name="Took">How long the step took.</param>
/// <param name="Waited">How long of that it waited for its images, which are made ahead on a second
/// thread.</param>
/// <param name="Notes">What a reader of the figures must know from this step on, one sentence each.</param>
public sealed record TrainingProgress(
    string Stage, long Step, long Steps, int Epoch, int Epochs, double Loss,
    IReadOnlyDictionary<string, double> Measures, TimeSpan Took, TimeSpan Waited,
    IReadOnlyList<string> Notes)
{
    /// <summary>The share of the run that is done, 0 to 1.</summary>
    public double Fraction => (double)Step / Steps;

    internal static TrainingProgress Of(Core.Training.Event done) => new(
        done.Stage, done.At.Step, done.At.Steps, (int)((done.At.Step - 1) / done.At.StepsPerEpoch) + 1,
        done.At.Epochs, done.Loss, done.Measures.ToDictionary(measure => measure.Item1, measure => measure.Item2),
        TimeSpan.FromSeconds(done.Took), TimeSpan.FromSeconds(done.Waited), [.. done.Notes]);
}
