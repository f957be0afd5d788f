namespace AdvContrast.Bench.Steps;

/// <summary>A training step, as one side of a comparison runs it.</summary>
internal interface IStep
{
    /// <summary>Makes a training step.</summary>
    /// <returns>The loss.</returns>
    double Step();

    /// <summary>Makes the first step, for a comparison of its results.</summary>
    StepResults Check();
}

/// <summary>The results of a first step from shared weights on shared images.</summary>
/// <param name="Loss">The loss of the step.</param>
/// <param name="Reached">The objective at the adversarial images, in float32.</param>
/// <param name="Gradient">The gradient in the images at the first point of the attack; empty where unknown.</param>
internal sealed record StepResults(double Loss, double Reached, float[] Gradient);
